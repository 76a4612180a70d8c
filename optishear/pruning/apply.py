"""Apply a recipe to a model in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers.modeling_utils import PreTrainedModel

from optishear.masks.masked import write_masked
from optishear.masks.select import check_group_divides, keep_mask
from optishear.metrics.metric import GradientMetric, Metric
from optishear.metrics.score import LayerScores, gradient_scores
from optishear.models.coverage import block_matrices
from optishear.models.finite import check_weights
from optishear.models.layers import PrunableLayer
from optishear.models.select_layers import select_layers
from optishear.pattern import Pattern
from optishear.pruning.channels import permute_channels
from optishear.recipes.fit import check_fits
from optishear.recipes.layer_counts import layer_counts
from optishear.recipes.recipe import Recipe
from optishear.row_blocks import row_blocks
from optishear.statistics.statistics import Statistics


@dataclass(frozen=True)
class PruningSummary:
    """What pruning did.

    Attributes:
        achieved_sparsity: fraction of zeros over all prunable weights.
        layers: fraction of zeros in each layer.
        sparsity_of_all_matrices: fraction of zeros over all matrices of the decoder blocks, prunable or not.
    """

    achieved_sparsity: float
    layers: dict[str, float]
    sparsity_of_all_matrices: float


@torch.no_grad()
def apply_recipe(
    model: PreTrainedModel, recipe: Recipe, statistics: Statistics, progress: bool = False
) -> PruningSummary:
    """Set the weights to zero that the recipe prunes, in place.

    Raises:
        InputError: before any weight is touched, if the recipe has paths that the model does not have, the pattern
            does not fit a layer's width, the statistics are another model's, or a number in them or in the weights is
            not finite.
    """
    layers = select_layers(model, recipe.selection)
    check_fits(recipe, layers, model.config.model_type)
    check_pattern(recipe.sparsity, layers)
    check_statistics(recipe, layers, statistics)
    check_weights(model)
    statistics = permute_channels(model, recipe, statistics)
    counts = layer_counts(recipe, layers)
    for layer, count in zip(tqdm(layers, desc="prune", unit="layer", disable=not progress), counts, strict=True):
        prune_layer(layer, recipe, statistics, count)
    return count_zeros(model, layers)


@torch.no_grad()
def prune_layer(layer: PrunableLayer, recipe: Recipe, statistics: Statistics, count: int) -> None:
    """Set the weights of one layer to zero that the recipe prunes, so many in each row, in place."""
    weight = layer.module.weight.detach()
    for rows, mask in masks_of_rows(recipe.metric_of(layer), layer, statistics, recipe.sparsity, count):
        write_masked(weight[rows], mask, weight[rows])


@torch.no_grad()
def count_zeros(model: nn.Module, layers: list[PrunableLayer]) -> PruningSummary:
    """The zeros in a pruned model's layers, and in all matrices of its decoder blocks."""
    zeros = {layer.name: int((layer.module.weight == 0).sum()) for layer in layers}
    sizes = {layer.name: layer.module.weight.numel() for layer in layers}
    matrices = block_matrices(model)
    all_zeros = sum(int((matrix == 0).sum()) for matrix in matrices.values())
    return PruningSummary(
        achieved_sparsity=sum(zeros.values()) / sum(sizes.values()),
        layers={name: zeros[name] / sizes[name] for name in zeros},
        sparsity_of_all_matrices=all_zeros / sum(matrix.numel() for matrix in matrices.values()),
    )


def layer_mask(
    metric: Metric, layer: PrunableLayer, statistics: Statistics, pattern: Pattern, pruned_per_row: int
) -> Tensor:
    """The mask of a layer, [out, in] bool, True where kept.

    Raises:
        InputError: if the statistics do not hold what the metric needs.
    """
    return torch.cat([mask for _, mask in masks_of_rows(metric, layer, statistics, pattern, pruned_per_row)])


def masks_of_rows(
    metric: Metric, layer: PrunableLayer, statistics: Statistics, pattern: Pattern, pruned_per_row: int
) -> Iterator[tuple[slice, Tensor]]:
    """The mask of a layer by blocks of rows, whose scores stay in a processor's cache.

    The weights of a block may be overwritten before the next one is requested.

    Raises:
        InputError: if the statistics do not hold what the metric needs.
    """
    score = row_scores(metric, layer, statistics)
    for rows in row_blocks(layer.module.weight):
        yield rows, keep_mask(score(rows), pattern, pruned_per_row)


def row_scores(metric: Metric, layer: PrunableLayer, statistics: Statistics) -> Callable[[slice], Tensor]:
    """A function from some rows of a layer to their scores, [rows, in], from the statistics that the metric needs.

    Raises:
        InputError: if the statistics do not hold it.
    """
    weight = layer.module.weight
    if isinstance(metric, GradientMetric):
        gradient = statistics.gradient_of(layer.name, tuple(weight.shape))
        return lambda rows: gradient_scores(weight[rows], gradient[rows])
    return LayerScores(metric, weight, statistics.of(layer.name, layer.module.in_features)).rows


def check_statistics(recipe: Recipe, layers: list[PrunableLayer], statistics: Statistics) -> None:
    """Refuse statistics that do not hold what the recipe's metrics read of some layer.

    Raises:
        InputError: naming the first such layer.
    """
    for layer in layers:
        if isinstance(recipe.metric_of(layer), GradientMetric):
            statistics.gradient_of(layer.name, tuple(layer.module.weight.shape))
        else:
            statistics.of(layer.name, layer.module.in_features)


def check_pattern(pattern: Pattern, layers: list[PrunableLayer]) -> None:
    """Refuse an N:M pattern whose M does not divide some layer's width.

    Raises:
        InputError: naming the first such layer.
    """
    if pattern.group is not None and pattern.kept is not None:
        for layer in layers:
            check_group_divides(layer.module.in_features, pattern.kept, pattern.group, layer.name)
