"""Captions of the figures."""

from collections.abc import Mapping

import pyarrow as pa

from optishear.diagnosis.diagnosis import Diagnosis
from optishear.recipes.recipe import Recipe
from optishear.recovery.summary import RecoverySummary
from optishear.report.formatting import duration, number, percent
from optishear.report.objectives import comparable, objective_columns, objective_label, searched_objectives, varying
from optishear.report.panels import KIND_TITLES
from optishear.run_metrics.measures import task_measures
from optishear.run_metrics.schema import RunMetrics


def comparison(metrics: RunMetrics) -> str:
    """Under the comparison."""
    tasks = " and task scores" if task_measures(metrics) else ""
    published = "of Wanda and of SparseGPT" if metrics.sparsegpt is not None else "of Wanda"
    return f"Perplexity{tasks} of the dense model, {published} at the same sparsity, and of the searched recipe."


def steps(values: Mapping[str, float | None]) -> str:
    """Under the steps."""
    parts = " and ".join(name.removeprefix("+ ") for name in values if name.startswith("+ "))
    beside = "the dense model, Wanda and SparseGPT" if "SparseGPT" in values else "the dense model and Wanda"
    return f"Perplexity of the pruned model with its masks alone and after {parts}, beside {beside}."


def ratios(recipe: Recipe) -> str:
    """Under the layer ratios."""
    if recipe.layer_patterns:
        between = recipe.patterns_between
        if between:
            return (
                f"The layers that have the pattern {recipe.sparsity}, those of {', '.join(map(str, between))}, and "
                f"those that stay dense. The denser layers count as {percent(recipe.dense_share, 2)} of dense weights."
            )
        return (
            f"The layers that have the pattern {recipe.sparsity}, and those that stay dense, which hold "
            f"{percent(recipe.dense_share, 2)} of the weights."
        )
    if recipe.sparsity.is_structured:
        return "An N:M pattern leaves no choice of sparsity between layers: only the metric was searched."
    if not recipe.sparsity_ratios:
        return "The recipe gives no layer a sparsity of its own."
    values = [ratio for curve in recipe.sparsity_ratios.values() for ratio in curve]
    what = "decoder layer" if len(recipe.sparsity_ratios) == 1 else "linear layer"
    return (
        f"The share of weights that each {what} loses, from {percent(min(values))} to {percent(max(values))}, "
        f"around the target of {percent(recipe.sparsity.fraction)}."
    )


def progress(trials: pa.Table) -> str:
    """Under the search progress."""
    stages = trials["stage"].to_pylist()
    parts = ["each dot is a candidate recipe", "the line is the best so far"]
    if "reference" in stages:
        parts.append("dashes are the published metrics at the same sparsity")
    if len(trials["sequences"].unique()) > 1:
        parts.append("values compare only between bands evaluated on the same number of sequences (“on 4”)")
    words = ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"{words[0].upper()}{words[1:]}."


def pareto(trials: pa.Table) -> str:
    """Under the Pareto front."""
    last_round = comparable(trials)
    objectives = searched_objectives(last_round)
    has_further = len(varying(last_round, objective_columns(last_round))) > len(objectives)
    if len(objectives) == 1 and has_further:
        return (
            "The candidates evaluated on the most sequences. The search minimised the "
            f"{objective_label(objectives[0])} alone; the other measure is shown for comparison."
        )
    if len(objectives) < 2:
        return f"The {last_round.num_rows} candidates evaluated on the most sequences, in order, with the chosen one."
    if len(objectives) > 2:
        return (
            f"The candidates evaluated on the most sequences, by the first two of {len(objectives)} objectives; "
            "the blue ones are non-dominated in all of them."
        )
    return "The candidates evaluated on the most sequences; those on the blue front are non-dominated."


def recovery(summary: RecoverySummary) -> str:
    """Under the recovery."""
    words = (
        f"Distance of the next-token distributions from the dense model's on text that was not trained on, from "
        f"{number(summary.before)} to {number(summary.after)} nats in {summary.tokens:,} tokens and "
        f"{duration(summary.seconds)}."
    )
    if summary.halvings:
        times = "once" if summary.halvings == 1 else f"{summary.halvings} times"
        words += f" It had risen {times}, so the best weights were taken back and the steps halved."
    if summary.after >= summary.before:
        return f"{words} No check was better than the start, whose weights were kept."
    return words


def layer_errors(diagnosis: Diagnosis) -> str:
    """Under the reconstruction errors."""
    last = diagnosis.summary().last_block_error
    linear = (
        "How far each linear layer's output moves when it alone is pruned and reads what the dense model reads "
        "(the mean over the layers of a kind); the dense model is the line at zero."
    )
    if {"wanda", "pruned"} <= last.keys():
        masked = f" and {number(last['masked'])} with the searched mask alone" if "masked" in last else ""
        return (
            f"Above: the distance of the hidden states from the dense model's, {number(last['pruned'])} after the last "
            f"block against {number(last['wanda'])} with Wanda{masked}. Below: {linear[0].lower()}{linear[1:]}"
        )
    return linear


def alignment(diagnosis: Diagnosis) -> str:
    """Under the alignment."""
    summary = diagnosis.summary()
    distance, share, shrank = summary.alignment_distance, summary.activation_share, summary.alignment_shrank_by
    if not {"wanda", "pruned"} <= distance.keys() or shrank is None:
        return "How far apart the scales of transformed weights and activations lie in each layer."
    decides = (
        f" Below, the share of the decision inside a row that activations have: {percent(share['pruned'], 0)} on "
        f"average, {percent(share['wanda'], 0)} with Wanda."
        if {"wanda", "pruned"} <= share.keys()
        else ""
    )
    kinds = "; ".join(
        f"{KIND_TITLES[kind]}, {_against_wanda(of_kind)}"
        for kind, of_kind in summary.alignment_shrank_by_kind.items()
        if of_kind is not None
    )
    by_kind = f" By kind of layer: {kinds}." if kinds else ""
    return (
        "Above, how far apart the mean transformed weight and the mean transformed activation lie: on average "
        f"{number(distance['pruned'])} orders of magnitude, {_against_wanda(shrank)} ({number(distance['wanda'])})."
        f"{by_kind}{decides}"
    )


def _against_wanda(shrank: float) -> str:
    if abs(shrank) < 0.005:
        return "as with Wanda"
    return f"{percent(abs(shrank), 0)} {'less' if shrank > 0 else 'more'} than Wanda"


def distributions() -> str:
    """Under the distributions."""
    return (
        "Distribution of the sizes of all weights and of the norms of all input channels, scaled to one height: the "
        "original values, which Wanda uses, and the values transformed by the searched metric."
    )
