"""Curves of sparsity over the depth that a ratio search may begin with."""

from optishear.models.layers import PrunableLayer
from optishear.parameters.search import RatioPrior
from optishear.ratios.allocate import allocate
from optishear.statistics.statistics import Statistics

# Half the distance between the first and the last decoder layer's ratio in an arithmetic progression.
LINEAR_REACHES = (0.05, 0.1, 0.15)


def prior_curves(
    prior: RatioPrior, layers: list[PrunableLayer], statistics: Statistics, sparsity: float
) -> dict[str, list[float]]:
    """The fraction to prune of each decoder layer, by the name of the curve.

    ``linear`` has several curves: arithmetic progressions from the first to the last decoder layer, which is pruned
    most (arXiv 2502.14770 derives them). Every other prior has one. The curves of ``linear`` meet the target only
    where the decoder layers are equally large; a candidate is shifted to meet it in any case.

    Args:
        prior: name of the prior.
        layers: the model's prunable layers.
        statistics: taken on the dense model.
        sparsity: the target.
    """
    depth = max(layer.decoder_layer for layer in layers) + 1
    if prior == "uniform":
        return {"uniform": [sparsity] * depth}
    if prior == "linear":
        centre = max(1, depth - 1) / 2
        return {
            f"linear {reach:g}": [sparsity + reach * (index - (depth - 1) / 2) / centre for index in range(depth)]
            for reach in LINEAR_REACHES
        }
    return {prior: allocate(prior, layers, statistics, sparsity)["all"]}
