"""Differences of two models' scores on the same examples, and whether they exceed the noise.

For each example the difference d of two models' values is taken; with weights w the difference of the scores is
D = sum(d) / sum(w), and its standard error sqrt(n / (n − 1) · sum((d − D·w)²)) / sum(w), the linear approximation of a
ratio's (for equal weights the usual one of a mean). Since easy and hard examples are so for both models, it is smaller
than what the two standard errors would give. Perplexities are compared by their logarithms.
"""

import math

from pydantic import BaseModel, ConfigDict

from optishear.evaluation.evaluate import Evaluation
from optishear.evaluation.examples import Examples, ExampleTable
from optishear.evaluation.harness import Measure, measures_of

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


class Differences(BaseModel):
    """The scores of one model less those of another.

    Attributes:
        perplexity: ``None`` where one was not measured or is not finite.
        tasks: by task and metric, if both models have a score and the noise can be estimated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    perplexity: Difference | None
    tasks: dict[str, dict[str, Difference]]

    def by_measure(self) -> dict[str, Difference]:
        """All differences, under names such as ``perplexity`` and ``boolq/acc``."""
        named = {
            f"{task}/{metric}": difference
            for task, by_metric in self.tasks.items()
            for metric, difference in by_metric.items()
        }
        return {**named, **({"perplexity": self.perplexity} if self.perplexity else {})}


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


def differences(one: Evaluation, other: Evaluation, examples: ExampleTable, others: ExampleTable) -> Differences:
    """Compare two evaluations made with the same settings.

    Args:
        one: an evaluation.
        other: the evaluation to compare with.
        examples: examples of ``one``.
        others: examples of ``other``.
    """
    tasks: dict[str, dict[str, Difference]] = {}
    for task, result in one.tasks.items():
        theirs = measures_of(other.tasks.get(task, {}))
        for metric, measure in measures_of(result).items():
            if metric not in theirs:
                continue
            difference = _paired((task, metric), examples, others) or _unpaired(measure, theirs[metric])
            if difference is not None:
                tasks.setdefault(task, {})[metric] = difference
    return Differences(perplexity=_paired(("", "perplexity"), examples, others), tasks=tasks)


def _paired(key: tuple[str, str], examples: ExampleTable, others: ExampleTable) -> Difference | None:
    return paired_difference(examples[key], others[key]) if key in examples and key in others else None


def _unpaired(measure: Measure, other: Measure) -> Difference | None:
    """From the standard errors of both scores, as if their examples were independent."""
    if measure["stderr"] is None or other["stderr"] is None:
        return None
    value, stderr = measure["value"] - other["value"], math.hypot(measure["stderr"], other["stderr"])
    if not (math.isfinite(value) and math.isfinite(stderr)):
        return None
    return Difference.of(value, stderr, paired=False)
