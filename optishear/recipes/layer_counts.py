"""The number of weights that a recipe prunes in each row of each layer of a model."""

import logging

import numpy as np

from optishear.models.layers import PrunableLayer, block_path, expert_path
from optishear.pattern import DENSE, Pattern
from optishear.recipes.density import Density, Values
from optishear.recipes.layer_ratios import curve_values, layer_ratios, pruned_per_row
from optishear.recipes.recipe import Recipe

logger = logging.getLogger(__name__)

# A share that is further from the recipe's is a warning.
TOLERANCE = 0.002


def layer_counts(recipe: Recipe, layers: list[PrunableLayer]) -> list[int]:
    """Weights to prune in each row of each layer, in the order of the layers.

    The patterns of the layers are used as they are written where the model has the recipe's depth and paths. On another
    model they are mapped by relative depth, as near as the recipe's share of dense weights allows. A recipe with such a
    share and without patterns makes the last decoder layers dense.

    Raises:
        InputError: if the recipe has layer ratios and an N:M pattern, which fixes them.
    """
    pattern = recipe.sparsity
    if not pattern.is_structured:
        return pruned_per_row(layer_ratios(recipe, layers), layers, pattern.fraction)
    if not recipe.layer_patterns and not recipe.dense_share:
        return pruned_per_row(layer_ratios(recipe, layers), layers)
    curves = recipe.layer_fractions
    depth = max(layer.decoder_layer for layer in layers) + 1
    paths = [{expert_path(layer), block_path(layer), "all"} for layer in layers]
    if curves and all(len(curve) == depth for curve in curves.values()) and all(of & curves.keys() for of in paths):
        ratios = curve_values(curves, layers)
    else:
        levels = sorted({pattern.fraction, DENSE.fraction, *(value for curve in curves.values() for value in curve)})
        groups = layer_groups(layers)
        density = density_of(layers, groups, levels[::-1])
        wished = group_means(groups, curve_values(curves, layers)) if curves else None
        chosen = density.nearest(recipe.dense_share, wished)
        ratios = [density.fractions[chosen[group]] for group in groups]
    counts = pruned_per_row(ratios, layers)
    _log_share(recipe, dense_share(counts, layers, pattern))
    return counts


def _log_share(recipe: Recipe, share: float) -> None:
    level = logging.WARNING if abs(share - recipe.dense_share) > TOLERANCE else logging.DEBUG
    words = "The recipe %r keeps %.2f %% of this model's prunable weights dense; it states %.2f %%."
    logger.log(level, words, recipe.name, 100 * share, 100 * recipe.dense_share)


def dense_share(counts: list[int], layers: list[PrunableLayer], pattern: Pattern) -> float:
    """The share of dense weights, as counted in ``optishear.recipes.density``, of weights pruned per row."""
    total = sum(layer.module.weight.numel() for layer in layers)
    pruned = sum(count * layer.module.out_features for count, layer in zip(counts, layers, strict=True))
    of_pattern = round(pattern.fraction * total)
    return (of_pattern - pruned) / of_pattern


def layer_groups(layers: list[PrunableLayer]) -> list[int]:
    """The group of each layer, from 0: itself, or the experts of one parameter together."""
    groups: dict[tuple[int, str], int] = {}
    return [groups.setdefault((layer.decoder_layer, block_path(layer)), len(groups)) for layer in layers]


def density_of(layers: list[PrunableLayer], groups: list[int], fractions: list[float]) -> Density:
    """The groups of a model's layers.

    Args:
        layers: the model's prunable layers.
        groups: the group of each layer, from 0.
        fractions: what each level prunes, from the pattern's to 0.
    """
    sizes = np.zeros(max(groups) + 1, dtype=np.int64)
    depths = np.zeros_like(sizes)
    for group, layer in zip(groups, layers, strict=True):
        sizes[group] += layer.module.weight.numel()
        depths[group] = layer.decoder_layer
    return Density(tuple(fractions), sizes, depths)


def group_means(groups: list[int], values: list[float]) -> Values:
    """The mean over each group of one value per layer, [groups] float64."""
    return np.bincount(groups, values) / np.bincount(groups)
