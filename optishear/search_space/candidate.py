"""A candidate: one pruning strategy of the search, for the layers of a model."""

import json
from dataclasses import dataclass

import torch

from optishear.metrics.canonical import metric_key
from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.models.layers import PrunableLayer, block_path, expert_path
from optishear.pattern import Pattern, layer_pattern_text
from optishear.recipes.layer_counts import dense_share
from optishear.recipes.layer_ratios import curves_by_path, exact_ratios, pruned_per_row
from optishear.recipes.recipe import Recipe, metric_of

AnyMetric = MetaMetric | PowerMetric


@dataclass(frozen=True)
class Candidate:
    """One pruning strategy.

    Attributes:
        metrics: as in ``Recipe.metrics``.
        sparsity_ratios: as in ``Recipe.sparsity_ratios``, what their patterns prune in an N:M recipe with layers of
            unlike density; empty if every layer has the target sparsity.
        layer_metrics: the metric of each prunable layer, in order.
        pruned_per_row: the number of weights to prune in each row of each layer; fixed by an N:M pattern.
        achieved_sparsity: fraction pruned over all prunable weights.
        dense_share: share of dense weights beside an N:M pattern (``optishear.recipes.density``).
    """

    metrics: dict[str, AnyMetric]
    sparsity_ratios: dict[str, list[float]]
    layer_metrics: list[AnyMetric]
    pruned_per_row: list[int]
    achieved_sparsity: float
    dense_share: float = 0.0

    @property
    def key(self) -> str:
        """Equal for all candidates that give the same masks."""
        return json.dumps([[metric_key(metric) for metric in self.layer_metrics], self.pruned_per_row])

    def recipe(self, name: str, pattern: Pattern) -> Recipe:
        """This candidate as a recipe."""
        recipe = Recipe(name=name, sparsity=pattern, metrics=dict(self.metrics))
        if pattern.group is None:
            return recipe.model_copy(update={"sparsity_ratios": self.sparsity_ratios})
        patterns = {
            path: [layer_pattern_text(pattern.pruning(round(ratio * pattern.group), pattern.group)) for ratio in ratios]
            for path, ratios in self.sparsity_ratios.items()
        }
        return recipe.model_copy(update={"layer_patterns": patterns, "dense_share": self.dense_share})


def make_candidate(
    layers: list[PrunableLayer],
    pattern: Pattern,
    metrics: dict[str, AnyMetric],
    ratios: list[float] | None = None,
    exact: bool = True,
) -> Candidate:
    """Create a candidate from metrics and the desired ratio of each layer.

    Args:
        layers: the model's prunable layers.
        pattern: the target.
        metrics: as in ``Recipe.metrics``.
        ratios: fraction to prune of each layer; by default the target for every layer. With an N:M target, that of a
            pattern with groups of the same size.
        exact: whether to shift the ratios so that the whole model meets the target; those of patterns stay.
    """
    exact = exact and (ratios is None or not pattern.is_structured)
    sizes = torch.tensor([layer.module.weight.numel() for layer in layers], dtype=torch.float64)
    by_path: dict[str, list[float]] = {}
    if ratios is not None:
        if exact:
            ratios = exact_ratios(torch.tensor(ratios, dtype=torch.float64), sizes, pattern.fraction).tolist()
        by_path = _by_path(layers, ratios)
    uniform = [pattern.fraction] * len(layers)
    counts = pruned_per_row(ratios or uniform, layers, pattern.fraction if exact else None)
    pruned = sum(count * layer.module.out_features for count, layer in zip(counts, layers, strict=True))
    return Candidate(
        metrics=metrics,
        sparsity_ratios=by_path,
        layer_metrics=[metric_of(metrics, layer) for layer in layers],
        pruned_per_row=counts,
        achieved_sparsity=pattern.fraction if pattern.is_structured and not by_path else pruned / float(sizes.sum()),
        dense_share=dense_share(counts, layers, pattern) if pattern.is_structured and by_path else 0.0,
    )


def _by_path(layers: list[PrunableLayer], ratios: list[float]) -> dict[str, list[float]]:
    """Ratios in the form of a recipe: one curve over the depth, under ``all``, if each block is uniform."""
    blocks: dict[int, set[float]] = {}
    paths: dict[tuple[int, str], set[float]] = {}
    for layer, ratio in zip(layers, ratios, strict=True):
        blocks.setdefault(layer.decoder_layer, set()).add(ratio)
        paths.setdefault((layer.decoder_layer, block_path(layer)), set()).add(ratio)
    if all(len(values) == 1 for values in blocks.values()):
        return {"all": [values.pop() for values in blocks.values()]}
    uniform = all(len(values) == 1 for values in paths.values())
    return curves_by_path(layers, ratios, block_path if uniform else expert_path)
