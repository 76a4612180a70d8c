"""Alignment and distributions of a recipe beside Wanda's, in one walk over the layers."""

from collections.abc import Mapping

import pyarrow as pa

from optishear.diagnosis.alignment import alignment, alignment_table
from optishear.diagnosis.distributions import Distributions
from optishear.diagnosis.factors import log_factors
from optishear.metrics.metric import GradientMetric
from optishear.models.layers import PrunableLayer
from optishear.recipes.recipe import Recipe
from optishear.statistics.statistics import Statistics


def diagnose_scales(
    layers: list[PrunableLayer], recipes: Mapping[str, Recipe], statistics: Statistics
) -> tuple[pa.Table, pa.Table]:
    """The tables of ``alignment.parquet`` and ``distributions.parquet``.

    Args:
        layers: the dense model's prunable layers; only read, one at a time.
        recipes: what to compare, by method.
        statistics: taken on the dense model.
    """
    aligned = []
    distributions = Distributions()
    for layer in layers:
        squared_norms = statistics.of(layer.name, layer.module.in_features)
        for method, recipe in recipes.items():
            metric = recipe.metric_of(layer)
            if isinstance(metric, GradientMetric):  # it has no activations to align
                continue
            factors = log_factors(metric, layer.module.weight, squared_norms)
            aligned.append(alignment(layer, method, *factors))
            distributions.add(layer, method, *factors)
    return alignment_table(aligned), distributions.table()
