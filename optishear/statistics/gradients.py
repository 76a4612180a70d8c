"""One backward pass per calibration sequence over the dense model: how strongly its loss depends on each weight."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.modeling_utils import PreTrainedModel

from optishear.batch_size import BatchSize
from optishear.calibration.calibration_set import CalibrationSet
from optishear.models.features import FeatureModel, split_at_head
from optishear.models.finite import not_finite
from optishear.models.in_memory import check_in_memory, frozen
from optishear.models.layers import PrunableLayer, all_prunable_layers, by_parameter
from optishear.models.loss_scale import LossScale
from optishear.models.memory import free_memory

# Of a device's free memory; the rest is for a sequence's activations and the gradient of one layer.
SHARE_FOR_SUMS = 0.5


def collect_gradients(model: PreTrainedModel, calibration: CalibrationSet, progress: bool = True) -> dict[str, Tensor]:
    """The L2 norm over the calibration sequences of the next-token loss's gradient for each prunable weight.

    Each layer's norms are min-max scaled to [0, 1], as the metric that reads them has it, which also fits them into
    float16.

    A layer's gradient is squared, added to its sum and dropped as soon as it is there. The sums are float32, four bytes
    a weight, on the layer's device. Where half of the free memory has no room for those of all layers, or memory runs
    out, the sequences are run several times, each time for as many layers as there is room for. Of each layer only the
    scaled norms, two bytes a weight, move to the CPU.

    Args:
        model: the dense model; left as it was.
        calibration: token blocks [sequences, sequence_length].
        progress: show a progress bar.

    Returns:
        For each layer's name float16 [out, in] on the CPU.

    Raises:
        InputError: if weights are offloaded, a layer's gradients are not finite, or one layer's do not fit the memory.
    """
    check_in_memory(model)
    layers = all_prunable_layers(model)
    split, scale = split_at_head(model), LossScale(model.dtype)
    together = BatchSize(layers_at_a_time(layers), "layer", "pass over the calibration sequences")

    def norms(part: slice) -> dict[str, Tensor]:
        return _norms(model, split, layers[part], calibration.tokens, scale, progress)

    parts = together.each(len(layers), norms)
    return {name: values for part in parts for name, values in part.items()}


def layers_at_a_time(layers: Sequence[PrunableLayer]) -> int:
    """The number of layers in equal parts whose float32 sums have room on their devices; at least one."""
    devices = {layer.module.weight.device for layer in layers}
    room = {device: SHARE_FOR_SUMS * free_memory(device) for device in devices}
    for passes in range(1, len(layers)):
        count = math.ceil(len(layers) / passes)
        if all(_have_room(layers[start : start + count], room) for start in range(0, len(layers), count)):
            return count
    return 1


def _have_room(layers: Sequence[PrunableLayer], room: Mapping[torch.device, float]) -> bool:
    needed: Counter[torch.device] = Counter()
    for layer in layers:
        needed[layer.module.weight.device] += layer.module.weight.numel() * torch.float32.itemsize
    return all(count <= room[device] for device, count in needed.items())


def _norms(
    model: PreTrainedModel,
    split: FeatureModel,
    layers: list[PrunableLayer],
    tokens: Tensor,
    scale: LossScale,
    progress: bool,
) -> dict[str, Tensor]:
    """The scaled norms of some layers by one pass over the sequences [sequences, length]."""
    sums = {layer.name: torch.zeros_like(layer.module.weight, dtype=torch.float32) for layer in layers}
    grouped = by_parameter(layers)
    added: set[str] = set()
    handles = []

    def back_propagate(sequence: Tensor) -> None:
        for parameter in grouped:
            parameter.grad = None
        hidden = split.features(sequence[None])[0, :-1]
        logits = split.logits(hidden).float()
        loss = torch.nn.functional.cross_entropy(logits, sequence[1:].to(logits.device))
        (loss * scale.factor).backward()

    try:
        with frozen(model), torch.enable_grad():
            for parameter, members in grouped.items():
                parameter.requires_grad_(True)
                adder = _adder(sums, [layer for _, layer in members], scale, added)
                handles.append(parameter.register_post_accumulate_grad_hook(adder))
            for sequence in tqdm(tokens, desc="gradients", unit="sequence", disable=not progress):
                added.clear()
                scale.run(functools.partial(back_propagate, sequence))
    finally:
        for handle in handles:
            handle.remove()
        for parameter in grouped:
            parameter.grad = None
    for name, total in sums.items():
        if not bool(total.isfinite().all()):
            raise not_finite(f"The gradients of the layer {name!r} are", model.dtype)
    return {layer.name: _scaled(sums.pop(layer.name).sqrt_()).cpu() for layer in layers}


def _adder(
    sums: Mapping[str, Tensor], layers: Sequence[PrunableLayer], scale: LossScale, added: set[str]
) -> Callable[[Tensor], None]:
    """A hook that adds a parameter's gradient to the sums of its layers, once for each sequence.

    Where a gradient overflows, the sequence is repeated, and the layers that were ``added`` before are not added again.
    """

    def add(parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        if gradient is None or layers[0].name in added:
            return
        gradient = scale.unscaled(gradient)
        for layer in layers:
            values = layer.view(gradient).detach().float()
            sums[layer.name].addcmul_(values, values)
            added.add(layer.name)

    return add


def _scaled(norms: Tensor) -> Tensor:
    """Min-max scaled to [0, 1], float16; all ones where they are all alike. The norms are overwritten."""
    low, high = norms.min(), norms.max()
    return norms.sub_(low).div_(high - low).half() if high > low else torch.ones_like(norms).half()
