"""The parameters of a model as a checkpoint on disk holds them, one at a time."""

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.formats.stored import StoredTensor, open_checkpoint


@dataclass
class _Source:
    """The source of a parameter: one stored tensor, or several that a converter of transformers combines."""

    tensors: list[tuple[str, StoredTensor]] = field(default_factory=list)
    converter: WeightConverter | None = None


class StoredWeights:
    """The checkpoint of a model, dense or packed; a parameter is read lazily.

    transformers writes some families under other names than the model has, and the experts of a layer one by one
    though the model holds them as one tensor. Names and tensors are brought together as transformers does on loading.
    """

    def __init__(self, folder: str | Path, model: PreTrainedModel) -> None:
        """Note which stored tensors make which parameter.

        Args:
            folder: the checkpoint.
            model: the model that it is a checkpoint of, on any device; only names and shapes are read.

        Raises:
            InputError: if the folder holds no checkpoint.
        """
        self.folder = folder
        self._model = model
        self._sources = _sources(model, open_checkpoint(folder).tensors)
        self._first = {name: first for first, source in self._sources.items() for name in _targets(first, source)}
        self._aliases = _aliases(model)

    def of(self, parameter: str) -> Tensor:
        """A parameter of the model, on the CPU, in the dtype in which it is stored.

        Args:
            parameter: its name in ``model.named_parameters()``.

        Raises:
            InputError: if the checkpoint does not hold it.
        """
        return self._read(*self._place(parameter))

    def dtype_of(self, parameter: str) -> torch.dtype:
        """The dtype of what ``of`` gives, from the headers alone."""
        first = self._place(parameter)[1]
        return self._sources[first].tensors[0][1].dtype

    def _place(self, parameter: str) -> tuple[str, str]:
        """The name under which a parameter is stored, and the first one of its source."""
        for name in self._aliases.get(parameter, [parameter]):
            if name in self._first:
                return name, self._first[name]
        # Under a prefix that transformers does not know.
        candidates = [key for key in self._first if key.endswith(f".{parameter}") or parameter.endswith(f".{key}")]
        if len(candidates) == 1:
            return candidates[0], self._first[candidates[0]]
        raise InputError(
            f"The checkpoint {str(self.folder)!r} has no weight {parameter!r}; give the checkpoint of the model that "
            "the layers are of."
        )

    def _read(self, name: str, first: str) -> Tensor:
        source = self._sources[first]
        if source.converter is None:
            return source.tensors[0][1].read()
        converter = deepcopy(source.converter)
        for pattern, stored in source.tensors:
            # As ``revert_weight_conversion`` does, which has tensors at hand rather than futures of them.
            converter.add_tensor(first, stored.name, pattern, stored.read())  # type: ignore[arg-type]
        converted = converter.convert(first, model=self._model, config=self._model.config)[name]
        tensor: Tensor = converted[0] if isinstance(converted, list) else converted
        return tensor


def _targets(first: str, source: _Source) -> list[str]:
    """The parameters that a source makes; the first names it."""
    if source.converter is None:
        return [first]
    targets = source.converter.target_patterns
    return [first.replace(targets[0], target) for target in targets]


def _sources(model: PreTrainedModel, stored: dict[str, StoredTensor]) -> dict[str, _Source]:
    """By the name of the first parameter that they make, as ``convert_and_load_state_dict_in_model`` groups them."""
    mapping = getattr(model, "_weight_conversions", None) or get_model_conversion_mapping(model)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    by_pattern = {pattern: entry for entry in converters for pattern in entry.source_patterns}
    empty = model.state_dict()
    sources: dict[str, _Source] = {}
    for key in sorted(stored, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, empty)
        if name not in empty and key in empty:
            name, pattern = key, None
        source = sources.setdefault(name, _Source(converter=by_pattern[pattern] if pattern else None))
        source.tensors.append((pattern or key, stored[key]))
    return sources


def _aliases(model: PreTrainedModel) -> dict[str, list[str]]:
    """All names of each parameter that has several; one of them is stored."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name: several for several in names.values() if len(several) > 1 for name in several}
