"""The verdict: the main result in one sentence, with remarks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from optishear.evaluation.differences import NOISE
from optishear.pattern import Pattern
from optishear.report.formatting import TITLES, duration, number, percent, sparsity_words
from optishear.run_metrics.measures import perplexities, task_measures
from optishear.run_metrics.schema import Model, RunMetrics
from optishear.statistics.statistics import describe_few_tokens

# Two independent codes of one method differ by 0.3 to 1.2 % in perplexity: nearer values are called level.
LEVEL = 0.005

_STEPS = {"masked": "with the masks alone", "reconstructed": "with reconstructed weights", "pruned": "in the end"}

Outcome = Literal["better", "level", "worse", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """The main result of a run.

    Attributes:
        outcome: the pruned model against Wanda, by perplexity.
        sentence: the outcome in words, with the numbers.
        remarks: further results and restrictions, one sentence each.
    """

    outcome: Outcome
    sentence: str
    remarks: tuple[str, ...] = ()


def verdict(metrics: RunMetrics, pattern: Pattern) -> Verdict:
    """Compare the pruned model with Wanda and the dense model.

    Args:
        metrics: of the run.
        pattern: the target sparsity.
    """
    perplexity = perplexities(metrics)
    outcome, conclusion = _conclusion(perplexity["dense"], perplexity["wanda"], perplexity["pruned"])
    noise = metrics.differences["wanda"].perplexity
    if outcome in ("better", "worse") and noise is not None and noise.within_noise:
        outcome, conclusion = "level", "the difference is within the noise of the text, so the two are level"
    sentence = f"{sparsity_words(pattern, metrics.asked_dense_share)}: {_numbers(perplexity)}: {conclusion}."
    return Verdict(
        outcome,
        sentence,
        tuple(
            filter(
                None,
                (
                    _on_sparsegpt(metrics),
                    _on_sparsity(metrics, pattern),
                    _on_dense_layers(metrics),
                    _on_coverage(metrics),
                    _on_experts(metrics),
                    _on_kept_weights(metrics),
                    _on_tasks(metrics),
                ),
            )
        ),
    )


def _numbers(perplexity: Mapping[Model, float | None]) -> str:
    pruned, wanda, dense = perplexity["pruned"], perplexity["wanda"], perplexity["dense"]
    if pruned is None and wanda is None and dense is None:
        return "no perplexity was measured"
    first = "perplexity not measured" if pruned is None else f"perplexity {_in_sentence(pruned)}"
    against = [
        f"{_in_sentence(value)} {words}"
        for value, words in ((wanda, "with Wanda"), (dense, "dense"))
        if value is not None
    ]
    return first + (", against " + " and ".join(against) if against else "")


def _in_sentence(perplexity: float) -> str:
    return number(perplexity) if math.isfinite(perplexity) else f"“{number(perplexity)}”"


def _conclusion(dense: float | None, wanda: float | None, pruned: float | None) -> tuple[Outcome, str]:
    if pruned is None:
        return "unknown", "nothing can be said about the searched recipe"
    if not math.isfinite(pruned):
        if wanda is not None and math.isfinite(wanda):
            return "worse", "the searched recipe breaks the model, Wanda does not"
        return "unknown", "the searched recipe breaks the model"
    if wanda is None:
        return "unknown", "there is no Wanda to compare the searched recipe with"
    if not math.isfinite(wanda):
        return "better", "Wanda breaks the model, the searched recipe does not"
    if abs(pruned - wanda) <= LEVEL * wanda:
        return "level", f"the searched recipe and Wanda are level, within {percent(LEVEL)}"
    better = pruned < wanda
    lost = wanda - dense if dense is not None and math.isfinite(dense) else 0.0
    if lost <= LEVEL * wanda:
        # Without a loss to speak of, a share of it says nothing.
        change = _rounded(abs(pruned / wanda - 1))
        words = f"the searched recipe's is {change} {'lower' if better else 'higher'} than Wanda's"
        return ("better", words) if better else ("worse", words)
    if better and dense is not None and pruned <= dense:
        return "better", "the searched recipe gives back all of what Wanda lost"
    share = abs(wanda - pruned) / lost
    if better:
        return "better", f"the searched recipe gives back {_rounded(share)} of what Wanda lost"
    more = f"{number(1 + share)} times what" if share >= 1 else f"{_rounded(share)} more than"
    return "worse", f"the searched recipe loses {more} Wanda loses, so Wanda is the better choice here"


def _rounded(share: float) -> str:
    return percent(share, 0 if share >= 0.02 else 1)


def _on_sparsegpt(metrics: RunMetrics) -> str:
    """SparseGPT beside the pruned model: perplexity, and the time that each took to make."""
    if metrics.sparsegpt is None:
        return ""
    theirs, mine = metrics.sparsegpt.perplexity, metrics.pruned.perplexity
    seconds = metrics.making_seconds
    times = ""
    if {"sparsegpt", "pruned"} <= seconds.keys():
        times = f" It took {duration(seconds['sparsegpt'])} to make, the pruned model {duration(seconds['pruned'])}."
    if theirs is None or mine is None:
        return f"SparseGPT, which changes the kept weights, has no perplexity to compare.{times}"
    noise = metrics.differences["sparsegpt"].perplexity
    if not (math.isfinite(theirs) and math.isfinite(mine)):
        words = ""
    elif abs(mine - theirs) <= LEVEL * theirs or (noise is not None and noise.within_noise):
        words = "; the two are level"
    else:
        words = f"; the pruned model's is {_rounded(abs(mine / theirs - 1))} {'lower' if mine < theirs else 'higher'}"
    return f"SparseGPT, which changes the kept weights, has a perplexity of {_in_sentence(theirs)}{words}.{times}"


def _on_sparsity(metrics: RunMetrics, pattern: Pattern) -> str:
    achieved, target = metrics.achieved_sparsity, pattern.fraction * (1 - metrics.asked_dense_share)
    if metrics.dense_layers is not None or abs(achieved - target) < 0.002:
        return ""
    favours = "favours" if achieved < target else "is hard on"
    return (
        f"The searched recipe prunes {percent(achieved)}, not the {percent(target)} asked for, "
        f"so the comparison {favours} it."
    )


def _on_dense_layers(metrics: RunMetrics) -> str:
    """How many layers are dense beside an N:M pattern, of the recipe and of Wanda."""
    layers = metrics.dense_layers
    if layers is None:
        return ""
    missed = ""
    if abs(layers.asked - layers.share) > 5e-5:
        missed = f", not the {percent(layers.asked, 2)} asked for: whole layers come no nearer without more"
    if not layers.denser:
        return (
            f"{len(layers.names)} layers are dense, with {percent(layers.share, 2)} of the prunable weights{missed}. "
            "Wanda keeps as many weights dense, in the last layers."
        )
    others = ", ".join(f"{len(names)} have {pattern}" for pattern, names in layers.denser.items())
    return (
        f"{len(layers.names)} layers are dense and {others}: as sparse as with {percent(layers.share, 2)} of the "
        f"prunable weights in dense layers{missed}. Wanda prunes as many weights, with the last layers dense."
    )


def _on_coverage(metrics: RunMetrics) -> str:
    """The share of the weights that is not prunable, if it is large."""
    if metrics.coverage.is_sufficient:
        return ""
    return f"Only {metrics.coverage.in_words()}. {metrics.sparsity_of_all_matrices:.2%} of all these weights are zero."


def _on_experts(metrics: RunMetrics) -> str:
    """Which experts were measured on other experts' tokens."""
    experts = metrics.experts
    if experts is None:
        return ""
    consequence = "were pruned on the statistics of all experts of their block"
    return describe_few_tokens(experts.few_tokens, experts.layers, experts.smallest_tokens, consequence)


def _on_kept_weights(metrics: RunMetrics) -> str:
    """What was done to the kept weights, and what each step brought."""
    parts = []
    if metrics.reconstruction is not None:
        parts.append(f"The kept weights were reconstructed ({metrics.reconstruction.in_words}).")
    if metrics.recovery is not None:
        words = metrics.recovery.in_words or "but no check was better than the start, so that the weights stayed"
        parts.append(f"The whole model was recovered: {words}.")
    steps = {**metrics.steps, "pruned": metrics.pruned}
    perplexities = {name: model.perplexity for name, model in steps.items()}
    known = [f"{number(value)} {_STEPS[name]}" for name, value in perplexities.items() if value is not None]
    if parts and len(known) > 1:
        parts.append(f"The perplexity is {', '.join(known)}.")
    return " ".join(parts)


def _on_tasks(metrics: RunMetrics) -> str:
    """The mean accuracy over the tasks of all compared models, and whether it differs from Wanda's."""
    # A group's own score would count its tasks a second time.
    leaves = metrics.pruned.settings.tasks
    complete = [
        measure
        for measure in task_measures(metrics)
        if measure.metric == "acc"
        and measure.task in leaves
        and all(value is not None and math.isfinite(value) for value in measure.values.values())
    ]
    if not complete:
        return ""
    models = tuple(metrics.compared_models)
    means = {model: sum(measure.values[model] or 0.0 for measure in complete) / len(complete) for model in models}
    words = ", ".join(f"{number(means[model])} {TITLES[model]}" for model in reversed(models))
    noise = _noise_of_mean(metrics, [measure.task for measure in complete])
    comparison = ""
    if noise is not None:
        within = abs(means["pruned"] - means["wanda"]) <= NOISE * noise
        comparison = f"; pruned and Wanda differ by {'less' if within else 'more'} than the noise"
    return f"Mean accuracy over {len(complete)} task{'' if len(complete) == 1 else 's'}: {words}{comparison}."


def _noise_of_mean(metrics: RunMetrics, tasks: list[str]) -> float | None:
    """Standard error of the mean over tasks of pruned less Wanda; the tasks' examples are independent."""
    differences = metrics.differences["wanda"].tasks
    stderrs = [differences[task]["acc"].stderr for task in tasks if "acc" in differences.get(task, {})]
    return math.hypot(*stderrs) / len(tasks) if len(stderrs) == len(tasks) else None
