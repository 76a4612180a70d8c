"""Layer ratios by the name of the method that gives them."""

from typing import Literal, get_args

import torch

from optishear.models.layers import PrunableLayer
from optishear.ratios.alphapruning import alphapruning_ratios
from optishear.ratios.owl import owl_ratios
from optishear.recipes.layer_ratios import exact_ratios
from optishear.statistics.statistics import Statistics

RatioMethod = Literal["owl", "alphapruning"]
RATIO_METHODS: tuple[RatioMethod, ...] = get_args(RatioMethod)


def allocate(
    method: RatioMethod, layers: list[PrunableLayer], statistics: Statistics, sparsity: float
) -> dict[str, list[float]]:
    """A method's ratios as a recipe has them (``Recipe.sparsity_ratios``).

    They are shifted by one common amount where that is needed to meet the target over all weights.

    Args:
        method: which one.
        layers: the model's prunable layers.
        statistics: taken on the dense model.
        sparsity: the target.
    """
    wished = owl_ratios(layers, statistics, sparsity) if method == "owl" else alphapruning_ratios(layers, sparsity)
    sizes = torch.zeros_like(wished)
    for layer in layers:
        sizes[layer.decoder_layer] += layer.module.weight.numel()
    return {"all": exact_ratios(wished, sizes, sparsity).tolist()}
