"""One pass over the dense model that adds up its layers' input norms."""

from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet
from optishear.models.finite import not_finite
from optishear.models.layers import prunable_layers
from optishear.statistics.statistics import Statistics


@torch.no_grad()
def collect_statistics(
    model: PreTrainedModel, calibration: CalibrationSet, batch_size: int = 4, progress: bool = True
) -> Statistics:
    """Run the calibration tokens through the dense model and sum the squares of what each layer reads.

    The sums are kept in float64, one number per input channel, so memory does not grow with the tokens. Layers
    that read the same tensor (the query, key and value projections, say) share one sum.

    Args:
        model: the dense model; left as it was.
        calibration: token blocks [sequences, sequence_length].
        batch_size: sequences per forward pass.
        progress: show a progress bar.

    Raises:
        InputError: if the inputs of a layer or the last hidden states are not finite, after the first such batch.
    """
    layers = prunable_layers(model)
    device = layers[0].module.weight.device
    sums: dict[str, Tensor] = {}
    last: dict[str, Any] = {"input": None, "sum": None}

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            read = inputs[0]
            if read is not last["input"]:
                # Each channel's squares are added over at most one batch in float32, then in float64.
                last["input"] = read
                last["sum"] = read.detach().float().square().flatten(0, -2).sum(dim=0).double().cpu()
            sums[name] = sums[name] + last["sum"] if name in sums else last["sum"]

        return hook

    handles = [layer.module.register_forward_pre_hook(watch(layer.name)) for layer in layers]
    try:
        batches = calibration.tokens.split(batch_size)
        for batch in tqdm(batches, desc="statistics", unit="batch", disable=not progress):
            output = model.base_model(batch.to(device), use_cache=False)
            _check_finite(sums, output.last_hidden_state)
            last["input"] = last["sum"] = None
    finally:
        for handle in handles:
            handle.remove()
    sequences = len(calibration.tokens)
    return Statistics({layer.name: (sums[layer.name] / sequences).float() for layer in layers})


def _check_finite(sums: dict[str, Tensor], hidden: Tensor) -> None:
    """Refuse what is not finite, naming the first layer, in the order in which they run, that reads it."""
    for name, total in sums.items():
        if not bool(total.isfinite().all()):
            raise not_finite(f"The inputs of the layer {name!r} are", hidden.dtype)
    if not bool(hidden.isfinite().all()):
        raise not_finite("The model's last hidden states are", hidden.dtype)
