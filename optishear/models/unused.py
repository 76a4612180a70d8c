"""Modules that a model holds and never calls: what they read is not known, so that they are not pruned.

Mamba multiplies by the weight of ``dt_proj`` without calling the module; Zamba2 has adapters for blocks that do not
use them.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

_PROBE_TOKENS = 4
_unused: "WeakKeyDictionary[nn.Module, frozenset[nn.Module]]" = WeakKeyDictionary()


def never_called(model: nn.Module) -> frozenset[nn.Module]:
    """The modules that one forward pass over a few tokens does not call; the pass runs once for each model.

    None where the model cannot be run, as a module that is no language model, or some on the meta device.
    """
    if model not in _unused:
        _unused[model] = _probe(model) if isinstance(model, PreTrainedModel) else frozenset()
    return _unused[model]


@torch.no_grad()
def _probe(model: PreTrainedModel) -> frozenset[nn.Module]:
    called: set[nn.Module] = set()

    def hook(module: nn.Module, _inputs: Any) -> None:
        called.add(module)

    handles = [module.register_forward_pre_hook(hook) for module in model.modules()]
    device = next(model.parameters()).device
    try:
        model(torch.arange(_PROBE_TOKENS, device=device)[None], use_cache=False)
    except Exception:  # whatever a model's own code raises, on the meta device for example
        return frozenset()
    finally:
        for handle in handles:
            handle.remove()
    return frozenset(model.modules()) - called
