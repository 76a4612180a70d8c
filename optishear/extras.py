"""Packages that only some functions need, and the extras of ``pip install`` that bring them."""

from collections.abc import Sequence
from importlib.util import find_spec

from optishear.errors import InputError

# The distributions that provide the modules, and the extra of pyproject.toml.
_EXTRAS = {
    "gguf": ("gguf", "gguf"),
    "google.protobuf": ("protobuf", "sentencepiece"),
    "jinja2": ("jinja2", "report"),
    "llama_cpp": ("llama-cpp-python", "llama-cpp"),
    "lm_eval": ("lm-eval", "evaluation"),
    "matplotlib": ("matplotlib", "report"),
    "optuna": ("optuna", "tpe"),
    "ray": ("ray", "workers"),
    "sentencepiece": ("sentencepiece", "sentencepiece"),
    "torchao": ("torchao", "torchao"),
}


def require(modules: Sequence[str], purpose: str) -> None:
    """Refuse to go on where a package is not installed. Nothing is imported.

    Args:
        modules: names to import, with an extra each.
        purpose: what needs them, the start of the sentence.

    Raises:
        InputError: naming the first package that is missing and the command that installs it.
    """
    for module in modules:
        if not is_installed(module):
            package, extra = _EXTRAS[module]
            raise InputError(
                f"{purpose} needs the package {package!r}, which is not installed; install it with: "
                f"pip install 'optishear[{extra}]'"
            )


def is_installed(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that the module is in
        return False
