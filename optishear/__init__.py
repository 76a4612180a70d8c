"""OptiShear: search the pruning recipe of a language model, prune the model, evaluate it.

>>> sorted(optishear.__all__)  # doctest: +NORMALIZE_WHITESPACE
['InputError', 'Recipe', 'evaluate', 'load_model', 'prune', 'recover', 'save_checkpoint', 'search', 'use_sparse_layers']

The names are loaded when they are first used, so that importing the package costs nothing.
"""

import logging
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optishear.errors import InputError
    from optishear.inference.fast_layers import use_sparse_layers
    from optishear.interface.api import evaluate, prune, recover, search
    from optishear.models.load import load_model
    from optishear.pruning.checkpoint import save_checkpoint
    from optishear.recipes.recipe import Recipe

    __version__: str

__all__ = [
    "InputError",
    "Recipe",
    "evaluate",
    "load_model",
    "prune",
    "recover",
    "save_checkpoint",
    "search",
    "use_sparse_layers",
]

_HOMES = {
    "InputError": "optishear.errors",
    "Recipe": "optishear.recipes.recipe",
    "evaluate": "optishear.interface.api",
    "load_model": "optishear.models.load",
    "prune": "optishear.interface.api",
    "recover": "optishear.interface.api",
    "save_checkpoint": "optishear.pruning.checkpoint",
    "search": "optishear.interface.api",
    "use_sparse_layers": "optishear.inference.fast_layers",
}

# transformers imports torchao wherever it is installed. Without a GPU that warns of kernels that cannot be loaded, and
# PyTorch warns of what it is passed.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("optishear")
    if name not in _HOMES:
        raise AttributeError(f"module 'optishear' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
