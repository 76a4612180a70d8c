"""Division of the target sparsity among the layers."""

from collections.abc import Callable, Mapping
from statistics import fmean

import torch
from torch import Tensor

from optishear.errors import InputError
from optishear.models.layers import PrunableLayer, block_path, expert_path
from optishear.recipes.recipe import Recipe

MAXIMUM_RATIO = 0.99


def exact_ratios(ratios: Tensor, weights: Tensor, target: float) -> Tensor:
    """Shift ratios by one common amount so that their weighted mean is the target, within [0, 0.99].

    Args:
        ratios: [groups] float64, fraction to prune of each group before the shift.
        weights: [groups] float64, the number of weights in each group.
        target: the fraction to prune over all groups.

    Returns:
        [groups] float64. The shift is found by bisection, since clipping makes the mean piecewise linear.
    """
    low, high = -1.0, 1.0
    share = weights / weights.sum()
    for _ in range(60):
        middle = (low + high) / 2
        if float(((ratios + middle).clamp(0, MAXIMUM_RATIO) * share).sum()) < target:
            low = middle
        else:
            high = middle
    return (ratios + high).clamp(0, MAXIMUM_RATIO)


def pruned_per_row(ratios: list[float], layers: list[PrunableLayer], target: float | None = None) -> list[int]:
    """Whole numbers of weights to prune in each row of each layer.

    Each layer's number is rounded. With a target, numbers then change by one as long as the total approaches the
    target, starting with those whose rounding was nearest to a half.
    """
    exact_counts = [ratio * layer.module.in_features for ratio, layer in zip(ratios, layers, strict=True)]
    counts = [round(value) for value in exact_counts]
    if target is None:
        return counts
    rows = [layer.module.out_features for layer in layers]
    missing = target * sum(layer.module.weight.numel() for layer in layers) - sum(
        count * height for count, height in zip(counts, rows, strict=True)
    )
    moved = True
    while moved:
        moved = False
        step = 1 if missing > 0 else -1
        for index in sorted(range(len(layers)), key=lambda i: step * (counts[i] - exact_counts[i])):
            possible = 0 <= counts[index] + step < layers[index].module.in_features
            if possible and abs(missing - step * rows[index]) < abs(missing):
                counts[index] += step
                missing -= step * rows[index]
                moved = True
    return counts


def layer_ratios(recipe: Recipe, layers: list[PrunableLayer]) -> list[float]:
    """The fraction to prune of each layer, mapped by relative depth if the model has another depth.

    A layer whose path is not in the recipe gets the ratios under ``all``; where there are none, as in a recipe of
    another family, the mean over the recipe's paths at its depth. All ratios are then shifted to the recipe's target.

    Raises:
        InputError: if the recipe has layer ratios and an N:M pattern, which fixes them.
    """
    pattern = recipe.sparsity
    if not recipe.sparsity_ratios:
        return [pattern.fraction] * len(layers)
    if pattern.is_structured:
        raise InputError(f"The recipe {recipe.name!r} has sparsity ratios, but the pattern {pattern} fixes them.")
    ratios = curve_values(recipe.sparsity_ratios, layers)
    weights = torch.tensor([layer.module.weight.numel() for layer in layers], dtype=torch.float64)
    return exact_ratios(torch.tensor(ratios, dtype=torch.float64), weights, pattern.fraction).tolist()


def curve_values(curves: Mapping[str, list[float]], layers: list[PrunableLayer]) -> list[float]:
    """The value of each layer from curves over the depth by path, read by relative depth in a model of another depth.

    A layer without a curve of its own gets the one under ``all``; without that, the mean over all curves at its depth.
    """
    depth = max(layer.decoder_layer for layer in layers) + 1
    resampled = {path: resample(values, depth) for path, values in curves.items()}
    average = resampled.get("all") or [
        sum(curve[index] for curve in resampled.values()) / len(resampled) for index in range(depth)
    ]
    return [
        resampled.get(expert_path(layer), resampled.get(block_path(layer), average))[layer.decoder_layer]
        for layer in layers
    ]


def curves_by_path(
    layers: list[PrunableLayer], values: list[float], path_of: Callable[[PrunableLayer], str] = block_path
) -> dict[str, list[float]]:
    """One value per layer as curves over the whole depth, by the layers' paths inside their blocks.

    Layers of a block with one path, which are experts, have their mean. Where a block has no layer of a path, as in
    models whose blocks differ, the curve has the value of the nearest block that has one, the earlier of two.
    """
    depth = max(layer.decoder_layer for layer in layers) + 1
    present: dict[str, dict[int, list[float]]] = {}
    for layer, value in zip(layers, values, strict=True):
        present.setdefault(path_of(layer), {}).setdefault(layer.decoder_layer, []).append(value)
    return {path: [_at(blocks, index) for index in range(depth)] for path, blocks in present.items()}


def _at(blocks: dict[int, list[float]], index: int) -> float:
    """The mean of the values of the block nearest to an index."""
    values = blocks[min(blocks, key=lambda block: (abs(block - index), block))]
    return values[0] if len(set(values)) == 1 else fmean(values)


def resample(values: list[float], depth: int) -> list[float]:
    """Read a curve over relative depth at another number of layers, by linear interpolation between centres."""
    if len(values) == depth:
        return list(values)
    resampled = []
    for index in range(depth):
        position = min(max((index + 0.5) / depth * len(values) - 0.5, 0.0), len(values) - 1.0)
        lower = int(position)
        upper = min(lower + 1, len(values) - 1)
        resampled.append(values[lower] + (position - lower) * (values[upper] - values[lower]))
    return resampled
