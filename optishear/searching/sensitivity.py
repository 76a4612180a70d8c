"""Marginal cost of pruning in each layer: the gradient of the descent on the ratios.

A first-order estimate at the pruned model: the mean of -(dE/dW) * W over the weights near a layer's threshold, with E
the KL divergence from the dense model and W the dense weight. Where it is large, fewer weights should be pruned; where
it is small, more. One backward pass gives the estimate for all layers; finite differences need a forward pass for each.
"""

import math
from collections.abc import Callable

from torch import Tensor

from optishear.divergence.model_divergence import Divergence, ModelDivergence
from optishear.models.layers import PrunableLayer, by_parameter
from optishear.models.loss_scale import LossScale
from optishear.searching.masked_weights import MaskedWeights

# Half-width of the neighbourhood of the threshold, in ranks, as a fraction of the row length.
BAND = 0.04


def marginal_costs(
    weights: MaskedWeights,
    divergence: ModelDivergence,
    layers: list[PrunableLayer],
    first: int,
    count: int,
    scale: LossScale | None = None,
) -> tuple[list[float], list[dict[Divergence, float]]]:
    """Cost of pruning one more weight of each layer, for the candidate applied to the weights.

    The gradient of each layer is reduced to one number when it is computed, so that memory holds one at a time.

    Args:
        weights: the weights with the candidate applied.
        divergence: divergence on the search tokens.
        layers: the prunable layers.
        first: first sequence.
        count: number of sequences.
        scale: of the gradients; where not given, a new one for the weights' dtype.

    Returns:
        One number per layer, the increase of the mean KL divergence per weight in nats, not a number if the divergence
        is not finite; and the distances of each sequence, as returned by ``ModelDivergence.backward``.
    """
    scale = scale or LossScale(layers[0].module.weight.dtype)
    costs = [0.0] * len(layers)
    grouped = by_parameter(layers)
    handles = []

    def back_propagate() -> list[dict[Divergence, float]]:
        costs[:] = [0.0] * len(layers)
        for parameter in grouped:
            parameter.grad = None
        return divergence.backward(first, count, scale)

    try:
        for parameter, members in grouped.items():
            parameter.requires_grad_(True)
            handles.append(parameter.register_post_accumulate_grad_hook(_reducer(costs, members, weights, scale)))
        distances = divergence.sequences_per_backward.run(lambda _: scale.run(back_propagate), most=count)
    finally:
        for handle in handles:
            handle.remove()
        for parameter in grouped:
            parameter.requires_grad_(False)
            parameter.grad = None
    if not all(math.isfinite(of_sequence["kl"]) for of_sequence in distances):
        costs = [math.nan] * len(layers)
    return costs, distances


def _reducer(
    costs: list[float], members: list[tuple[int, PrunableLayer]], weights: MaskedWeights, scale: LossScale
) -> Callable[[Tensor], None]:
    def reduce(parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        if gradient is not None:
            gradient = scale.unscaled(gradient)
            for index, layer in members:
                costs[index] += weights.mean_near_threshold(index, layer.view(gradient), BAND)

    return reduce
