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
    return _reduced(
        layers,
        divergence,
        first,
        count,
        1,
        lambda index, gradient: [weights.mean_near_threshold(index, gradient, BAND)],
        scale,
    )


def pattern_costs(
    weights: MaskedWeights,
    divergence: ModelDivergence,
    layers: list[PrunableLayer],
    fractions: tuple[float, ...],
    first: int,
    count: int,
    scale: LossScale | None = None,
) -> tuple[list[float], list[dict[Divergence, float]]]:
    """Cost of each of several N:M patterns in each layer, for the candidate applied to the weights.

    The sum of -(dE/dW) * W over the weights that the pattern prunes: to first order, what the layer would gain as a
    dense one, or where it is dense, lose.

    Args:
        weights: the weights with the candidate applied.
        divergence: divergence on the search tokens.
        layers: the prunable layers.
        fractions: fraction that each pattern prunes.
        first: first sequence.
        count: number of sequences.
        scale: as for ``marginal_costs``.

    Returns:
        The costs in nats, those of the first layer first; and the distances of each sequence, as for
        ``marginal_costs``.
    """

    def costs(index: int, gradient: Tensor) -> list[float]:
        width = layers[index].module.in_features
        return weights.pruned_parts(index, gradient, [round(fraction * width) for fraction in fractions])

    return _reduced(layers, divergence, first, count, len(fractions), costs, scale)


def _reduced(
    layers: list[PrunableLayer],
    divergence: ModelDivergence,
    first: int,
    count: int,
    width: int,
    reduce: Callable[[int, Tensor], list[float]],
    scale: LossScale | None,
) -> tuple[list[float], list[dict[Divergence, float]]]:
    """Numbers of each layer, from its gradient [out, in] and its index, and the distances of each sequence."""
    scale = scale or LossScale(layers[0].module.weight.dtype)
    costs = [0.0] * (len(layers) * width)
    grouped = by_parameter(layers)
    handles = []

    def back_propagate() -> list[dict[Divergence, float]]:
        costs[:] = [0.0] * len(costs)
        for parameter in grouped:
            parameter.grad = None
        return divergence.backward(first, count, scale)

    try:
        for parameter, members in grouped.items():
            parameter.requires_grad_(True)
            handles.append(parameter.register_post_accumulate_grad_hook(_reducer(costs, members, reduce, scale)))
        distances = divergence.sequences_per_backward.run(lambda _: scale.run(back_propagate), most=count)
    finally:
        for handle in handles:
            handle.remove()
        for parameter in grouped:
            parameter.requires_grad_(False)
            parameter.grad = None
    if not all(math.isfinite(of_sequence["kl"]) for of_sequence in distances):
        costs = [math.nan] * len(costs)
    return costs, distances


def _reducer(
    costs: list[float],
    members: list[tuple[int, PrunableLayer]],
    reduce: Callable[[int, Tensor], list[float]],
    scale: LossScale,
) -> Callable[[Tensor], None]:
    def add(parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        if gradient is not None:
            gradient = scale.unscaled(gradient)
            for index, layer in members:
                numbers = reduce(index, layer.view(gradient))
                for position, number in enumerate(numbers, start=index * len(numbers)):
                    costs[position] += number

    return add
