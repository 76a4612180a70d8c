"""Layer ratios of published methods, by the name of the method."""

from typing import Literal, get_args

import torch

from optishear.models.layers import PrunableLayer
from optishear.ratios.alphapruning import alphapruning_ratios
from optishear.ratios.dlp import dlp_ratios
from optishear.ratios.owl import owl_ratios
from optishear.recipes.layer_ratios import exact_ratios
from optishear.statistics.statistics import Statistics

RatioMethod = Literal["owl", "dlp", "alphapruning"]
RATIO_METHODS: tuple[RatioMethod, ...] = get_args(RatioMethod)


def allocate(
    method: RatioMethod, layers: list[PrunableLayer], statistics: Statistics, sparsity: float
) -> dict[str, list[float]]:
    """A method's ratios in the form of a recipe (``Recipe.sparsity_ratios``).

    If needed, they are shifted by one common amount to meet the target over all weights.

    Args:
        method: name of the method.
        layers: the model's prunable layers.
        statistics: taken on the dense model.
        sparsity: the target.
    """
    if method == "owl":
        ratios = owl_ratios(layers, statistics, sparsity)
    elif method == "dlp":
        ratios = dlp_ratios(layers, statistics, sparsity)
    else:
        ratios = alphapruning_ratios(layers, sparsity)
    sizes = torch.zeros_like(ratios)
    for layer in layers:
        sizes[layer.decoder_layer] += layer.module.weight.numel()
    return {"all": exact_ratios(ratios, sizes, sparsity).tolist()}
