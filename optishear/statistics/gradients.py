"""One backward pass per calibration sequence over the dense model: how strongly its loss depends on each weight."""

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet
from optishear.models.features import split_at_head
from optishear.models.finite import not_finite
from optishear.models.in_memory import check_in_memory, frozen
from optishear.models.layers import PrunableLayer, all_prunable_layers, by_parameter


def collect_gradients(model: PreTrainedModel, calibration: CalibrationSet, progress: bool = True) -> dict[str, Tensor]:
    """The L2 norm over the calibration sequences of the next-token loss's gradient for each prunable weight.

    Each layer's norms are min-max scaled to [0, 1], as the metric that reads them has it, which also fits them into
    float16. The sums are kept in float32 on the CPU, four bytes a weight; a layer's gradient is added and dropped as
    soon as it is there.

    Args:
        model: the dense model; left as it was.
        calibration: token blocks [sequences, sequence_length].
        progress: show a progress bar.

    Returns:
        For each layer's name float16 [out, in] on the CPU.

    Raises:
        InputError: if weights are offloaded, or a layer's gradients are not finite.
    """
    check_in_memory(model)
    layers = all_prunable_layers(model)
    split = split_at_head(model)
    sums = {layer.name: torch.zeros(layer.module.weight.shape) for layer in layers}
    grouped = by_parameter(layers)
    handles = []
    try:
        with frozen(model), torch.enable_grad():
            for parameter, members in grouped.items():
                parameter.requires_grad_(True)
                handles.append(parameter.register_post_accumulate_grad_hook(_adder(sums, members)))
            for sequence in tqdm(calibration.tokens, desc="gradients", unit="sequence", disable=not progress):
                hidden = split.features(sequence[None])[0, :-1]
                logits = split.logits(hidden).float()
                torch.nn.functional.cross_entropy(logits, sequence[1:].to(logits.device)).backward()
    finally:
        for handle in handles:
            handle.remove()
        for parameter in grouped:
            parameter.grad = None
    for name, total in sums.items():
        if not bool(total.isfinite().all()):
            raise not_finite(f"The gradients of the layer {name!r} are", model.dtype)
    return {name: _scaled(total.sqrt_()) for name, total in sums.items()}


def _adder(sums: dict[str, Tensor], members: list[tuple[int, PrunableLayer]]) -> Callable[[Tensor], None]:
    def add(parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        if gradient is not None:
            for _, layer in members:
                sums[layer.name].add_(layer.view(gradient).detach().float().square().cpu())

    return add


def _scaled(norms: Tensor) -> Tensor:
    """Min-max scaled to [0, 1], float16; all ones where they are all alike."""
    low, high = norms.min(), norms.max()
    return ((norms - low) / (high - low)).half() if high > low else torch.ones_like(norms).half()
