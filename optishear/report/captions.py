"""One sentence under each figure: what to look for."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from optishear.recipe import Recipe
from optishear.report.measures import task_measures
from optishear.report.objectives import comparable, objective_columns, varying
from optishear.report.words import percent


def comparison(metrics: Mapping[str, Any]) -> str:
    """Under the comparison."""
    tasks = " and task scores" if task_measures(metrics) else ""
    return f"Perplexity{tasks} of the dense model, of Wanda at the same sparsity, and of the searched recipe."


def ratios(recipe: Recipe) -> str:
    """Under the layer ratios."""
    if recipe.pattern.is_structured:
        return "An N:M pattern leaves no choice of sparsity between layers: only the metric was searched."
    if not recipe.sparsity_ratios:
        return "The recipe gives no layer a sparsity of its own."
    values = [ratio for curve in recipe.sparsity_ratios.values() for ratio in curve]
    what = "decoder layer" if len(recipe.sparsity_ratios) == 1 else "linear layer"
    return (
        f"The share of weights that each {what} loses, from {percent(min(values))} to {percent(max(values))}, "
        f"around the target of {percent(recipe.pattern.sparsity)}."
    )


def progress(trials: pa.Table) -> str:
    """Under the search progress."""
    stages = trials["stage"].to_pylist()
    parts = ["each dot is a candidate recipe", "the line is the best so far"]
    if "reference" in stages:
        parts.append("dashes are the published metrics at the same sparsity")
    if len(trials["sequences"].unique()) > 1:
        parts.append("values compare only between bands judged on as many sequences (“on 4”)")
    words = ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"{words[0].upper()}{words[1:]}."


def pareto(trials: pa.Table) -> str:
    """Under the Pareto front."""
    judged = comparable(trials)
    objectives = varying(judged, objective_columns(judged))
    if len(objectives) < 2:
        return f"The {judged.num_rows} candidates that were judged longest, in order, with the one that was chosen."
    if len(objectives) > 2:
        return (
            f"The candidates that were judged longest, by the first two of {len(objectives)} objectives; "
            "the blue ones are on the front of all of them."
        )
    return "The candidates that were judged longest: no other beats one on the blue front in both objectives."
