"""Two models on the same examples: how far apart their scores are, and whether that is more than noise.

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
    """One model's score less another's.

    Attributes:
        value: difference of the scores; of their logarithms where ``logarithmic``.
        stderr: its standard error.
        paired: whether it was taken example by example; else from the two scores' own standard errors.
        logarithmic: whether the scores are perplexities.
        within_noise: whether it is nearer to 0 than 1.96 standard errors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    stderr: float
    paired: bool
    logarithmic: bool = False
    within_noise: bool

    @classmethod
    def of(cls, value: float, stderr: float, *, paired: bool, logarithmic: bool = False) -> "Difference":
        """Judge a difference by its standard error."""
        within = abs(value) <= NOISE * stderr
        return cls(value=value, stderr=stderr, paired=paired, logarithmic=logarithmic, within_noise=within)


def paired_difference(one: Examples, other: Examples) -> Difference | None:
    """The difference over the same examples; ``None`` for fewer than two, other examples, or values not finite."""
    count = len(one.values)
    if count < 2 or one.weights != other.weights or one.logarithmic != other.logarithmic:
        return None
    apart = [mine - theirs for mine, theirs in zip(one.values, other.values, strict=True)]
    total = sum(one.weights)
    value = sum(apart) / total
    if not math.isfinite(value):
        return None
    squares = sum((each - value * weight) ** 2 for each, weight in zip(apart, one.weights, strict=True))
    return Difference.of(
        value, math.sqrt(count / (count - 1) * squares) / total, paired=True, logarithmic=one.logarithmic
    )


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], examples: ExampleTable, others: ExampleTable
) -> dict[str, Any]:
    """Compare two evaluations made with the same settings.

    Args:
        one: an evaluation, as JSON.
        other: the one that it is compared with.
        examples: the first's examples.
        others: the second's.

    Returns:
        ``perplexity``: a difference or ``None``; ``tasks``: by task and metric, for those where both models have a
        score and the noise can be told.
    """
    tasks: dict[str, dict[str, Any]] = {}
    for task, scores in (one.get("tasks") or {}).items():
        for metric, score in scores.items():
            theirs = (other.get("tasks") or {}).get(task, {}).get(metric)
            if not isinstance(score, Mapping) or not isinstance(theirs, Mapping):
                continue
            found = _paired((task, metric), examples, others) or _unpaired(score, theirs)
            if found is not None:
                tasks.setdefault(task, {})[metric] = found.model_dump()
    perplexity = _paired(("", "perplexity"), examples, others)
    return {"perplexity": perplexity.model_dump() if perplexity else None, "tasks": tasks}


def _paired(key: tuple[str, str], examples: ExampleTable, others: ExampleTable) -> Difference | None:
    return paired_difference(examples[key], others[key]) if key in examples and key in others else None


def _unpaired(score: Mapping[str, Any], theirs: Mapping[str, Any]) -> Difference | None:
    """From the standard errors of both, as if their examples had nothing to do with each other."""
    errors = [score.get("stderr"), theirs.get("stderr")]
    if None in errors:
        return None
    # JSON may hold numbers that are not finite, as text.
    value, stderr = float(score["value"]) - float(theirs["value"]), math.hypot(*(float(str(each)) for each in errors))
    if not (math.isfinite(value) and math.isfinite(stderr)):
        return None
    return Difference.of(value, stderr, paired=False)
