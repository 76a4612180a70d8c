"""The layers' weights in a checkpoint on disk, one at a time."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from optishear.errors import InputError
from optishear.formats.stored import open_checkpoint


class StoredWeights:
    """The checkpoint of a model, dense or packed; a weight is read when it is asked for."""

    def __init__(self, folder: str | Path) -> None:
        """Note which file holds which tensor.

        Raises:
            InputError: if the folder holds no checkpoint.
        """
        self.folder = folder
        self._tensors = open_checkpoint(folder).tensors

    def of(self, layer: str) -> Tensor:
        """The weight [out, in] of a layer, as it is stored.

        Args:
            layer: path of the layer in the model, as in ``model.named_modules()``.

        Raises:
            InputError: if the layer has no weight there, or if it is not clear which one is its.
        """
        return self._tensors[_stored_key(f"{layer}.weight", self._tensors, self.folder)].read()


def _stored_key(name: str, stored: Iterable[str], folder: str | Path) -> str:
    """The key of a weight: its own name, or that with or without the base model's prefix."""
    if name in stored:
        return name
    candidates = [key for key in stored if key.endswith(f".{name}") or name.endswith(f".{key}")]
    if len(candidates) != 1:
        raise InputError(
            f"The checkpoint {str(folder)!r} has {len(candidates) or 'no'} weights that could be {name!r}; "
            "give the checkpoint of the model that the layers are of."
        )
    return candidates[0]
