"""What one more pruned weight would cost in each layer: the gradient that the ratio search starts from.

A first-order estimate, at the pruned model itself: for the weights next to a layer's threshold, the mean of
-(dE/dW) * W, with E the KL divergence from the dense model and W the dense weight. Where it is large, weights
that were just pruned should come back; where it is small, more can go. One backward pass gives it for all layers,
where finite differences would take one forward pass for each.
"""

from collections.abc import Callable

from torch import Tensor

from optishear.divergence.model_divergence import Divergence, ModelDivergence
from optishear.models.layers import PrunableLayer, by_parameter
from optishear.searching.masked_weights import MaskedWeights

# Weights within this share of the row length of the threshold, on either side, stand for the next to change.
BAND = 0.04


def marginal_costs(
    weights: MaskedWeights, error: ModelDivergence, layers: list[PrunableLayer], first: int, count: int
) -> tuple[list[float], list[dict[Divergence, float]]]:
    """Cost of pruning one more weight of each layer, for the candidate that is on the weights now.

    No gradient of a whole model is ever held: each layer's is reduced to one number as soon as it is there.

    Args:
        weights: holds the candidate.
        error: dense targets of the tokens to measure on.
        layers: the prunable layers.
        first: first sequence.
        count: number of sequences.

    Returns:
        One number per layer: the rise of the mean KL divergence, in nats, per weight. And the distances of each
        sequence, as ``ModelDivergence.backward`` gives them.
    """
    costs = [0.0] * len(layers)
    grouped = by_parameter(layers)
    handles = []
    try:
        for parameter, members in grouped.items():
            parameter.requires_grad_(True)
            handles.append(parameter.register_post_accumulate_grad_hook(_reducer(costs, members, weights)))
        measured = error.backward(first, count)
    finally:
        for handle in handles:
            handle.remove()
        for parameter in grouped:
            parameter.requires_grad_(False)
            parameter.grad = None
    return costs, measured


def _reducer(
    costs: list[float], members: list[tuple[int, PrunableLayer]], weights: MaskedWeights
) -> Callable[[Tensor], None]:
    def reduce(parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        if gradient is not None:
            for index, layer in members:
                costs[index] += weights.mean_near_threshold(index, layer.view(gradient), BAND)

    return reduce
