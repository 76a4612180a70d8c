"""A pruned checkpoint is stored in the dtypes of the dense one, independent of the working precision."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.formats.stored import header_dtypes, open_checkpoint
from optishear.models.layers import by_parameter, prunable_layers

# As safetensors writes them.
_PLAIN = ("F64", "F32", "F16", "BF16")
Load = Callable[[torch.dtype], PreTrainedModel]


@dataclass(frozen=True)
class _Origin:
    """Finds the folder of the checkpoint that a model was loaded from, and loads it again on the CPU, in a dtype."""

    folder: Callable[[], Path]
    load: Load


_origins: "WeakKeyDictionary[PreTrainedModel, _Origin]" = WeakKeyDictionary()


@dataclass(frozen=True)
class StoredDtypes:
    """In which dtypes a checkpoint is stored.

    Attributes:
        main: of most of its numbers.
        by_name: of each tensor of floating point.
    """

    main: torch.dtype
    by_name: Mapping[str, torch.dtype]

    def of(self, name: str) -> torch.dtype:
        """The dtype of a tensor of the model; the main one where the checkpoint has none of that name."""
        return self.by_name.get(name, self.main)


def stored_dtypes(folder: Path) -> StoredDtypes | None:
    """The dtypes that a checkpoint's files hold; ``None`` where they hold no numbers of floating point."""
    tensors = open_checkpoint(folder).tensors.values()
    by_name = {tensor.name: tensor.dtype for tensor in tensors if tensor.is_floating_point()}
    sizes: Counter[torch.dtype] = Counter()
    for tensor in tensors:
        if tensor.name in by_name:
            sizes[by_name[tensor.name]] += torch.Size(tensor.shape).numel()
    return StoredDtypes(sizes.most_common(1)[0][0], by_name) if sizes else None


def check_stored_numbers(name: str, model: PreTrainedModel, folder: Path) -> None:
    """Refuse weights that are stored as integers or in 8 bits: without their scales, they are other numbers.

    A quantized checkpoint says so in its configuration; one that lost that part loads without a word.

    Args:
        name: of the model, for the message.
        model: as it was loaded.
        folder: of its checkpoint.

    Raises:
        InputError: naming the first such weight and its dtype.
    """
    prefix = f"{model.base_model_prefix}."
    weights = {key for key, _ in model.named_parameters(remove_duplicate=False)}
    for key, dtype in header_dtypes(folder).items():
        if dtype not in _PLAIN and {key, f"{prefix}{key}", key.removeprefix(prefix)} & weights:
            raise InputError(
                f"The weight {key!r} of the model {name!r} is stored as {dtype}, which is no plain floating point; "
                "give the checkpoint that it was quantized from."
            )


def remember_origin(model: PreTrainedModel, folder: Callable[[], Path], load: Load) -> None:
    """Note where a model comes from, for ``in_stored_dtypes``.

    Args:
        model: as it was loaded.
        folder: finds the folder of its checkpoint.
        load: loads it once more, in a dtype.
    """
    _origins[model] = _Origin(folder, load)


@contextmanager
def in_stored_dtypes(model: PreTrainedModel) -> Iterator[None]:
    """Let a model hold its numbers, on the CPU, in the dtypes of the checkpoint that it was loaded from.

    Zeros stay zeros. A weight that was not changed is the checkpoint's own, bit for bit, also where the working dtype
    is narrower than the stored one: then the checkpoint is read once more. At the end of the body the model is as it
    was. A model that ``load_model`` did not load keeps its dtype.

    Raises:
        InputError: if a number is too large for the stored dtype.
    """
    origin = _origins.get(model)
    stored = stored_dtypes(origin.folder()) if origin else None
    if origin is None or stored is None:
        yield
        return
    other_dtypes = {name: tensor for name, tensor in _numbers(model).items() if tensor.dtype != stored.of(name)}
    working = {name: tensor.data for name, tensor in other_dtypes.items()}
    configs = _configs(model)
    dtypes = [config.dtype for config in configs]
    try:
        originals = _originals(model, origin.load, working, stored)
        for name, tensor in other_dtypes.items():
            tensor.data = _converted(name, working[name], originals.pop(name, None), stored.of(name))
        set_config_dtype(model, stored.main)
        yield
    finally:
        for name, tensor in other_dtypes.items():
            tensor.data = working[name]
        for config, dtype in zip(configs, dtypes, strict=True):
            config.dtype = dtype


def set_config_dtype(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Let a model's configuration name a dtype, as a checkpoint's does that is stored in it."""
    for config in _configs(model):
        config.dtype = dtype


def _numbers(model: PreTrainedModel) -> dict[str, Tensor]:
    """The parameters and buffers of floating point that are saved, each tied one once."""
    saved = model.state_dict(keep_vars=True)
    unique = {id(tensor): name for name, tensor in reversed(saved.items()) if tensor.is_floating_point()}
    return {name: saved[name] for name in unique.values()}


def _configs(model: PreTrainedModel) -> list[Any]:
    """The model's configuration and those inside of it, each of which names a dtype."""
    config = model.config
    inner = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    return [value for value in (config, *inner) if value is not None]


def _originals(
    model: PreTrainedModel, load: Load, working: Mapping[str, Tensor], stored: StoredDtypes
) -> dict[str, Tensor]:
    """The checkpoint's numbers where the working dtype could not hold them; of pruned weights, zeros."""
    narrower = {
        name for name, tensor in working.items() if torch.promote_types(tensor.dtype, stored.of(name)) != tensor.dtype
    }
    if not narrower:
        return {}
    widest = torch.float64 if torch.float64 in stored.by_name.values() else torch.float32
    dense = _numbers(load(widest))
    pruned = {id(parameter) for parameter in by_parameter(prunable_layers(model))}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    originals = {}
    for name in narrower & dense.keys():
        original = dense.pop(name).data
        is_pruned = id(parameters.get(name)) in pruned
        originals[name] = _with_changes(original, working[name].to("cpu"), is_pruned)
    return originals


def _with_changes(original: Tensor, now: Tensor, is_pruned: bool) -> Tensor:
    """A wider tensor with what changed in a narrower copy of it."""
    merged = torch.where(original.to(now.dtype) != now, now.to(original.dtype), original)
    # A weight that the working dtype holds as zero may be another number in the checkpoint.
    return merged.masked_fill_(now == 0, 0) if is_pruned else merged


def in_dtype_of(name: str, original: Tensor, now: Tensor, is_pruned: bool) -> Tensor:
    """A parameter in the dtype in which the dense one is stored, as ``in_stored_dtypes`` has it.

    Args:
        name: of the parameter, for the message.
        original: the dense parameter, in the stored dtype.
        now: what was made of it, in the working dtype.
        is_pruned: whether zeros of it stay zeros.

    Raises:
        InputError: if a number is too large for the stored dtype.
    """
    if original.dtype == now.dtype:
        return now
    narrower = torch.promote_types(now.dtype, original.dtype) != now.dtype
    return _converted(name, now, _with_changes(original, now, is_pruned) if narrower else None, original.dtype)


def _converted(name: str, working: Tensor, original: Tensor | None, dtype: torch.dtype) -> Tensor:
    exact = working.to("cpu") if original is None else original
    converted = exact.to(dtype)
    if bool((converted.isinf() & exact.isfinite()).any()):
        words = str(dtype).removeprefix("torch.")
        raise InputError(
            f"The tensor {name!r} has numbers beyond the largest of {words}, in which the dense checkpoint is stored; "
            "set reconstruction to none, or convert the dense checkpoint to bfloat16."
        )
    return converted
