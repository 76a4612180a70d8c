"""The measured pass of a recovery: gradients on two lengths, and an update of the weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from optishear.divergence.model_divergence import ModelDivergence
from optishear.models.devices import devices_of
from optishear.models.features import FeatureModel, split_at_head
from optishear.models.layers import PrunableLayer, by_parameter
from optishear.models.timed import timed
from optishear.timing.speed import SHORT_STEP
from optishear.training.factored_adam import FactoredAdam


def measure_training(model: PreTrainedModel, layers: Sequence[PrunableLayer], tokens: Tensor) -> dict[str, float]:
    """Seconds of the gradients of a step, and of its update.

    Args:
        model: stands for the dense and for the pruned model; it is left as it was.
        layers: whose weights are trained.
        tokens: [1, length]; the shorter step is on its begin.
    """
    devices, parts = devices_of(model), split_at_head(model)
    parameters = list(by_parameter(layers))
    results = {}
    with _dropped_gradients(parameters):
        for name, length in (("short_training", min(SHORT_STEP, tokens.shape[1])), ("training", tokens.shape[1])):
            for _ in range(2):  # the first pass allocates what the others use
                results[name], _ = timed(devices, partial(_gradients, parts, tokens[:, :length]))
    results["update"] = _update_seconds(parameters)
    return results


def _gradients(parts: FeatureModel, tokens: Tensor) -> None:
    with torch.enable_grad():
        ModelDivergence(parts, tokens, ("kl",), measured=0).backward(0, 1)


@contextmanager
def _dropped_gradients(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Require the gradients of the body's backward passes, and drop each as soon as it is there.

    Those of ``TrainedWeights`` would need memory for the optimizer's state of all weights.
    """
    required = [parameter.requires_grad for parameter in parameters]

    def drop(parameter: Tensor) -> None:
        parameter.grad = None

    handles = [parameter.requires_grad_(True).register_post_accumulate_grad_hook(drop) for parameter in parameters]
    try:
        yield
    finally:
        for parameter, before, handle in zip(parameters, required, handles, strict=True):
            handle.remove()
            parameter.requires_grad_(before)


def _update_seconds(parameters: Sequence[Tensor]) -> float:
    """The update of all weights, from that of the largest matrix."""
    largest = max(parameters, key=Tensor.numel)
    copy = nn.Parameter(largest.detach().clone(), requires_grad=False)
    optimizer, gradient = FactoredAdam(copy, is_pruned=True), copy.clone()
    optimizer.step(gradient, 0.001, 1)  # the first step compiles what the others use
    seconds, _ = timed([copy.device], partial(optimizer.step, gradient, 0.001, 2))
    return seconds * sum(parameter.numel() for parameter in parameters) / copy.numel()
