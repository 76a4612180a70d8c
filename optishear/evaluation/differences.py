"""Differences of two models' scores on the same examples, and whether they exceed the noise.

For each example the difference d of two models' values is taken; with weights w the difference of the scores is
D = sum(d) / sum(w), and its standard error sqrt(n / (n − 1) · sum((d − D·w)²)) / sum(w), the linear approximation of a
ratio's (for equal weights the usual one of a mean). Since easy and hard examples are so for both models, it is smaller
than what the two standard errors would give. Perplexities are compared by their logarithms.
"""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from optishear.evaluation.examples import Examples, ExampleTable

# Of two equal models, 95 % of the differences are nearer than this many standard errors (normal approximation).
NOISE = 1.96


class Difference(BaseModel):
    """The score of one model less that of another.

    Attributes:
        value: difference of the scores; of their logarithms if ``logarithmic``.
        stderr: its standard error.
        paired: whether it was computed example by example; otherwise from the standard errors of the two scores.
        logarithmic: whether the scores are perplexities.
        within_noise: whether it is at most 1.96 standard errors from 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    stderr: float
    paired: bool
    logarithmic: bool = False
    within_noise: bool

    @classmethod
    def of(cls, value: float, stderr: float, *, paired: bool, logarithmic: bool = False) -> "Difference":
        """A difference, marked as noise if it is within 1.96 standard errors."""
        within = abs(value) <= NOISE * stderr
        return cls(value=value, stderr=stderr, paired=paired, logarithmic=logarithmic, within_noise=within)


def paired_difference(one: Examples, other: Examples) -> Difference | None:
    """The difference over the same examples; ``None`` for fewer than two, different examples, or no finite value."""
    count = len(one.values)
    if count < 2 or one.weights != other.weights or one.logarithmic != other.logarithmic:
        return None
    example_differences = [mine - theirs for mine, theirs in zip(one.values, other.values, strict=True)]
    total = sum(one.weights)
    value = sum(example_differences) / total
    if not math.isfinite(value):
        return None
    squares = sum(
        (difference - value * weight) ** 2 for difference, weight in zip(example_differences, one.weights, strict=True)
    )
    return Difference.of(
        value, math.sqrt(count / (count - 1) * squares) / total, paired=True, logarithmic=one.logarithmic
    )


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], examples: ExampleTable, others: ExampleTable
) -> dict[str, Any]:
    """Compare two evaluations made with the same settings.

    Args:
        one: an evaluation, as JSON.
        other: the evaluation to compare with.
        examples: examples of ``one``.
        others: examples of ``other``.

    Returns:
        ``perplexity``: a difference or ``None``; ``tasks``: by task and metric, if both models have a
        score and the noise can be estimated.
    """
    tasks: dict[str, dict[str, Any]] = {}
    for task, scores in (one.get("tasks") or {}).items():
        for metric, score in scores.items():
            theirs = (other.get("tasks") or {}).get(task, {}).get(metric)
            if not isinstance(score, Mapping) or not isinstance(theirs, Mapping):
                continue
            difference = _paired((task, metric), examples, others) or _unpaired(score, theirs)
            if difference is not None:
                tasks.setdefault(task, {})[metric] = difference.model_dump()
    perplexity = _paired(("", "perplexity"), examples, others)
    return {"perplexity": perplexity.model_dump() if perplexity else None, "tasks": tasks}


def _paired(key: tuple[str, str], examples: ExampleTable, others: ExampleTable) -> Difference | None:
    return paired_difference(examples[key], others[key]) if key in examples and key in others else None


def _unpaired(score: Mapping[str, Any], theirs: Mapping[str, Any]) -> Difference | None:
    """From the standard errors of both scores, as if their examples were independent."""
    errors = [score.get("stderr"), theirs.get("stderr")]
    if None in errors:
        return None
    # JSON may hold numbers that are not finite, as text.
    value, stderr = float(score["value"]) - float(theirs["value"]), math.hypot(*(float(str(error)) for error in errors))
    if not (math.isfinite(value) and math.isfinite(stderr)):
        return None
    return Difference.of(value, stderr, paired=False)
