"""One pruned layer at a time: by a recipe's mask, or as a checkpoint holds it."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.masks.masked import write_masked
from optishear.models.layers import PrunableLayer
from optishear.pruning.apply import masks_of_rows
from optishear.pruning.stored_weights import StoredWeights
from optishear.recipes.layer_counts import layer_counts
from optishear.recipes.recipe import Recipe
from optishear.statistics.statistics import Statistics

# A layer's pruned weight [out, in], computed on request; the dense layer is not changed.
PrunedWeight = Callable[[PrunableLayer], Tensor]


def masked_by(recipe: Recipe, layers: list[PrunableLayer], statistics: Statistics) -> PrunedWeight:
    """The weights as ``optishear.pruning.apply.apply_recipe`` would leave them, a layer at a time."""
    counts = layer_counts(recipe, layers)
    count_of = {layer.name: count for layer, count in zip(layers, counts, strict=True)}

    @torch.no_grad()
    def pruned(layer: PrunableLayer) -> Tensor:
        weight = layer.module.weight.detach()
        result = torch.empty_like(weight)
        count = count_of[layer.name]
        for rows, mask in masks_of_rows(recipe.metric_of(layer), layer, statistics, recipe.sparsity, count):
            write_masked(weight[rows], mask, result[rows])
        return result

    return pruned


def in_checkpoint(folder: Path, model: PreTrainedModel) -> PrunedWeight:
    """The weights as they lie in a checkpoint of the model."""
    stored = StoredWeights(folder, model)
    # The experts of one parameter are requested one after another.
    read = lru_cache(maxsize=1)(stored.of)
    return lambda layer: layer.view(read(layer.parameter_name)).to(layer.module.weight)
