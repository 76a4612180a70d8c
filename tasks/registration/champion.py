"""Champion and challenger: whether tonight's model takes the place of the best one so far."""

import math
from dataclasses import dataclass

from optishear.errors import InputError
from optishear.parameters.evaluation import EvaluationParameters
from optishear.run_metrics.measures import task_measures
from optishear.run_metrics.schema import RunMetrics
from tasks.registration.parameters import RegistryParameters

# The main metric of a task: the first of these that it has.
_MAIN_METRICS = ("acc", "exact_match", "f1", "acc_norm")


@dataclass(frozen=True)
class Challenger:
    """What a model's promotion depends on.

    Attributes:
        perplexity: of the model.
        dense_perplexity: of the dense model on the same text.
        task_drop: the mean score over the tasks of the dense model less the model's, in points (hundredths);
            ``None`` where no task was evaluated for both.
        settings: digest of the dense model and of its evaluation; perplexities compare only where it is equal.
        failed_tasks: tasks without a score for one of the two models.
        as_evaluated: whether the checkpoint's files are those that were evaluated.
    """

    perplexity: float
    dense_perplexity: float
    task_drop: float | None
    settings: str
    failed_tasks: tuple[str, ...] = ()
    as_evaluated: bool = True


@dataclass(frozen=True)
class Champion:
    """The model that is the champion now."""

    version: str
    perplexity: float
    settings: str


@dataclass(frozen=True)
class Decision:
    """Whether a model is promoted, and why, in a sentence."""

    promoted: bool
    reason: str


def challenger_of(metrics: RunMetrics, settings: str, as_evaluated: bool) -> Challenger:
    """What was measured of the pruned model; not a number where no perplexity was."""
    pruned, dense = metrics.pruned.perplexity, metrics.dense.perplexity
    return Challenger(
        perplexity=math.nan if pruned is None else pruned,
        dense_perplexity=math.nan if dense is None else dense,
        task_drop=_task_drop(metrics),
        settings=settings,
        failed_tasks=_failed_tasks(metrics),
        as_evaluated=as_evaluated,
    )


def decide(
    challenger: Challenger, limits: RegistryParameters, champion: Champion | None, reigns: bool = False
) -> Decision:
    """Promote a model that is within the limits and no worse than the champion.

    Re-evaluating the current champion never demotes it.

    Args:
        challenger: of the model.
        limits: those of ``champion_max_perplexity_increase`` and ``champion_max_task_drop`` that are given.
        champion: the present one, if there is one and it is another model.
        reigns: whether the model is the champion itself.
    """
    obstacle = _beyond_limits(challenger, limits) or _behind(challenger, champion)
    over = f"perplexity {challenger.perplexity:.6g}, {_over_dense(challenger)}"
    if reigns:
        return Decision(True, f"Still the champion{f', although {obstacle}' if obstacle else f': {over}'}.")
    if obstacle:
        return Decision(False, f"Not promoted: {obstacle}.")
    if champion is None:
        return Decision(True, f"Promoted: {over}; there was no champion.")
    before = f"version {champion.version}, the champion before, had {champion.perplexity:.6g}"
    return Decision(True, f"Promoted: {over}; {before}.")


def _beyond_limits(challenger: Challenger, limits: RegistryParameters) -> str:
    if not challenger.as_evaluated:
        return "the files of its checkpoint are not those that were evaluated; run the same command again"
    if math.isnan(challenger.perplexity):
        return "it has no perplexity"
    if math.isinf(challenger.perplexity):
        return "its perplexity is infinite"
    if not math.isfinite(challenger.dense_perplexity):
        return f"the dense model's perplexity is {challenger.dense_perplexity}, which nothing can be compared with"
    most = limits.champion_max_perplexity_increase
    if most is not None and not _increase(challenger) <= most:
        return (
            f"perplexity {challenger.perplexity:.6g} is {_over_dense(challenger)}, and "
            f"champion_max_perplexity_increase allows {most:g} %"
        )
    drop = limits.champion_max_task_drop
    if drop is None:
        return ""
    if challenger.failed_tasks:
        return f"champion_max_task_drop is given, but there is no score on {', '.join(challenger.failed_tasks)}"
    if challenger.task_drop is None:
        return "champion_max_task_drop is given, but no task was evaluated for both the dense and the pruned model"
    if not challenger.task_drop <= drop:
        return (
            f"the mean over the tasks is {challenger.task_drop:.4g} points under the dense model's, and "
            f"champion_max_task_drop allows {drop:g}"
        )
    return ""


def _behind(challenger: Challenger, champion: Champion | None) -> str:
    if champion is None:
        return ""
    if champion.settings != challenger.settings:
        return (
            f"the champion, version {champion.version}, was evaluated on another text, other windows or another "
            "dense model, so the two do not compare; evaluate the champion's run in the same way, or remove its alias"
        )
    if challenger.perplexity > champion.perplexity:
        return (
            f"perplexity {challenger.perplexity:.6g} is above the {champion.perplexity:.6g} of the champion, "
            f"version {champion.version}"
        )
    return ""


def _increase(challenger: Challenger) -> float:
    """Percent over the dense model's perplexity."""
    return 100 * (challenger.perplexity / challenger.dense_perplexity - 1)


def _over_dense(challenger: Challenger) -> str:
    increase = _increase(challenger)
    words = "over" if increase >= 0 else "under"
    return f"{abs(increase):.4g} % {words} the dense model's {challenger.dense_perplexity:.6g}"


def _task_drop(metrics: RunMetrics) -> float | None:
    """Dense less pruned, over the tasks that both were evaluated on, in points."""
    drops: dict[str, float] = {}
    measures = task_measures(metrics)
    for name in _MAIN_METRICS:
        for measure in measures:
            dense, pruned = measure.values["dense"], measure.values["pruned"]
            if measure.metric.split("/")[0] != name or dense is None or pruned is None:
                continue
            drops.setdefault(measure.task, dense - pruned)
    return 100 * sum(drops.values()) / len(drops) if drops else None


def _failed_tasks(metrics: RunMetrics) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*metrics.dense.failed_tasks, *metrics.pruned.failed_tasks]))


def check_limits(limits: RegistryParameters, evaluation: EvaluationParameters) -> None:
    """Refuse a limit on task scores where no tasks are evaluated.

    Raises:
        InputError: names the limit.
    """
    if limits.champion_max_task_drop is not None and not (evaluation.tasks or evaluation.suite):
        raise InputError(
            f"champion_max_task_drop is {limits.champion_max_task_drop:g}, but no tasks are evaluated; "
            "give tasks or a suite, or leave it out."
        )
