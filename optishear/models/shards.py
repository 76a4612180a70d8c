"""A model in shards: its decoder blocks in order over several GPUs, each block whole on one of them.

``accelerate`` moves what a block reads to the block's GPU, so that every pass computes what it does on one device.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.models.layers import decoder_blocks
from optishear.models.memory import weight_count

# A search holds a copy of a block's weights and their ranks, too.
_COPIES = 3

# The device of each parameter, by its name; a tied one has all of its names.
Placement = Mapping[str, torch.device]


def device_map(name: str, model: PreTrainedModel, devices: tuple[torch.device, ...]) -> dict[str, torch.device]:
    """The device of each decoder block and of each module outside of the blocks, for ``from_pretrained``.

    The blocks are in order over the devices. What comes before them is on the first device, what comes after them on
    the last; a head that is tied to the embeddings is where these are. The largest share of a device is as small as
    it can be, with room on each for a search's copy and ranks of its blocks.

    Args:
        name: of the model, for the message.
        model: its structure, which may be on the meta device.
        devices: alike.

    Raises:
        InputError: if blocks on different devices share weights.
    """
    path, blocks = decoder_blocks(model)
    outside = {key: devices[0 if comes_first else -1] for key, comes_first in _outside(model, path)}
    _tie_head(model, outside)
    others: Counter[torch.device] = Counter()
    for key, device in outside.items():
        others[device] += _weights(model, key)
    cuts = balanced(
        [_COPIES * sum(parameter.numel() for parameter in block.parameters()) for block in blocks],
        [others[device] for device in devices],
    )
    placed = outside | {f"{path}.{index}": devices[cut] for index, cut in enumerate(cuts)}
    _check_shared(name, model, placed)
    return placed


def balanced(sizes: list[int], others: list[int]) -> list[int]:
    """The part of each item, where items keep their order and the largest part is as small as it can be.

    >>> balanced([1, 1, 1, 1], [2, 0])
    [0, 1, 1, 1]

    Args:
        sizes: of the items.
        others: what each part holds beside its items; as many as there are parts.
    """
    count = len(sizes)
    before = [sum(sizes[:end]) for end in range(count + 1)]
    # For each number of first items: the largest part, the sum of squares where several cuts are alike, and the ends.
    best: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, ()), *[(2**200, 0, ())] * count]
    for other in others:
        best = [
            min(
                (max(largest, load), squares + load**2, (*ends, end))
                for start in range(end + 1)
                for largest, squares, ends in [best[start]]
                for load in [other + before[end] - before[start]]
            )
            for end in range(count + 1)
        ]
    ends = best[count][2]
    return [next(part for part, end in enumerate(ends) if index < end) for index in range(count)]


def placement_on(name: str, model: PreTrainedModel, devices: tuple[torch.device, ...]) -> Placement:
    """The device that each parameter will have.

    Args:
        name: as for ``device_map``.
        model: its structure.
        devices: that it is for.

    Raises:
        InputError: as ``device_map``.
    """
    placed = device_map(name, model, devices) if len(devices) > 1 else {"": devices[0]}
    return {key: _device_of(key, placed) for key, _ in model.named_parameters(remove_duplicate=False)}


def placement_of(model: nn.Module) -> Placement:
    """The device that each parameter of a model has."""
    return {key: parameter.device for key, parameter in model.named_parameters(remove_duplicate=False)}


def weights_by_device(model: nn.Module, placement: Placement) -> Counter[torch.device]:
    """How many numbers the parameters on each device hold, tied ones once."""
    counts: Counter[torch.device] = Counter()
    for key, parameter in model.named_parameters():
        counts[placement[key]] += parameter.numel()
    return counts


def weights_by_place(
    name: str, model: PreTrainedModel, devices: tuple[torch.device, ...]
) -> Mapping[torch.device, int]:
    """How many numbers each place holds while a model is loaded.

    A model for one device is read into the machine's memory first. One in shards is read onto its devices, a weight at
    a time.

    Args:
        name: as for ``device_map``.
        model: its structure.
        devices: that it is for.

    Raises:
        InputError: as ``device_map``.
    """
    if len(devices) == 1:
        return dict.fromkeys((torch.device("cpu"), *devices), weight_count(model))
    return weights_by_device(model, placement_on(name, model, devices))


def _outside(model: nn.Module, path: str) -> Iterator[tuple[str, bool]]:
    """What is outside of the blocks, and whether it comes before them; so does what holds no weights."""
    node, prefix = model, ""
    for part in path.split("."):
        before = True
        for key, _ in (*node.named_parameters(recurse=False), *node.named_buffers(recurse=False)):
            yield prefix + key, True
        for key, child in node.named_children():
            if key == part:
                before = False
            else:
                yield prefix + key, before or next(child.parameters(), None) is None
        node, prefix = node.get_submodule(part), f"{prefix}{part}."


def _tie_head(model: PreTrainedModel, outside: dict[str, torch.device]) -> None:
    """Put a head that shares its weight with the embeddings where these are."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or getattr(head, "weight", None) is not embeddings.weight:
        return
    names = {module: key for key, module in model.named_modules()}
    for key in outside:
        if names[head] == key or names[head].startswith(f"{key}."):
            outside[key] = _device_of(names[embeddings], outside)


def _weights(model: nn.Module, key: str) -> int:
    """Numbers of the parameters of a module, or of one parameter, by its name."""
    return sum(
        parameter.numel() for name, parameter in model.named_parameters() if name == key or name.startswith(f"{key}.")
    )


def _device_of(key: str, placed: Mapping[str, torch.device]) -> torch.device:
    """The device of the module in the map that a parameter or module belongs to."""
    while key not in placed:
        key = key.rpartition(".")[0]
    return placed[key]


def _check_shared(name: str, model: nn.Module, placed: Mapping[str, torch.device]) -> None:
    """Refuse weights that modules on different devices share: each device would have a copy of its own."""
    found: dict[nn.Parameter, tuple[str, torch.device]] = {}
    for key, parameter in model.named_parameters(remove_duplicate=False):
        device = _device_of(key, placed)
        first, other = found.setdefault(parameter, (key, device))
        if other != device:
            raise InputError(
                f"The model {name!r} cannot be on several GPUs: {first!r} and {key!r} are one weight, and would be on "
                "different GPUs; give device cuda."
            )
