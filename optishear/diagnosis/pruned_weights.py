"""One pruned layer at a time: by a recipe's mask, or as a checkpoint holds it."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.masks.select import keep_mask
from optishear.models.layers import PrunableLayer
from optishear.pruning.apply import layer_scores
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
        score = layer_scores(recipe.metric_of(layer), layer, statistics)
        mask = keep_mask(score, recipe.sparsity, count_of[layer.name])
        return layer.module.weight.masked_fill(~mask, 0)

    return pruned


def in_checkpoint(folder: Path, model: PreTrainedModel) -> PrunedWeight:
    """The weights as they lie in a checkpoint of the model."""
    stored = StoredWeights(folder, model)
    # The experts of one parameter are requested one after another.
    read = lru_cache(maxsize=1)(stored.of)
    return lambda layer: layer.view(read(layer.parameter_name)).to(layer.module.weight)
