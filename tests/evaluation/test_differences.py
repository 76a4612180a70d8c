import math

import numpy as np
import pytest

from optishear.evaluation.differences import Differences, differences, paired_difference
from optishear.evaluation.evaluate import Evaluation, EvaluationSettings
from optishear.evaluation.examples import Examples, examples_table, read_examples
from optishear.evaluation.harness import Measure, Seeds, TaskResult


def scores(*values: float) -> Examples:
    return Examples(values=list(values), weights=[1.0] * len(values))


def test_a_mean_has_the_standard_error_of_the_differences() -> None:
    one, other = scores(1, 1, 0, 1, 1), scores(1, 0, 0, 0, 1)
    found = paired_difference(one, other)
    assert found is not None
    apart = np.array([0, 1, 0, 1, 0])
    assert found.value == pytest.approx(apart.mean())
    assert found.stderr == pytest.approx(apart.std(ddof=1) / math.sqrt(5))
    assert found.paired
    assert found.within_noise  # 0.4 against 1.96 * 0.245


def test_equal_models_are_within_the_noise() -> None:
    found = paired_difference(scores(1, 0, 1), scores(1, 0, 1))
    assert found is not None
    assert (found.value, found.stderr, found.within_noise) == (0, 0, True)


def test_pairing_sees_what_two_standard_errors_hide() -> None:
    generator = np.random.default_rng(0)
    hard = generator.normal(0, 5, 200)
    better = [*(hard - 0.3 + generator.normal(0, 0.1, 200))]
    found = paired_difference(scores(*better), scores(*hard))
    assert found is not None
    assert not found.within_noise
    assert found.stderr < 0.05 * np.std(hard) / math.sqrt(200)


def test_a_perplexity_is_compared_by_its_logarithm_and_weights() -> None:
    one = Examples(values=[20.0, 90.0], weights=[10.0, 30.0], logarithmic=True)
    other = Examples(values=[22.0, 96.0], weights=[10.0, 30.0], logarithmic=True)
    assert one.score == pytest.approx(math.exp(110 / 40))
    found = paired_difference(one, other)
    assert found is not None
    assert found.logarithmic
    assert found.value == pytest.approx(math.log(one.score / other.score)) == pytest.approx(-0.2)
    # Both examples differ by 0.2 a word: no noise at all.
    assert found.stderr == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "other", [scores(1), scores(1, 2, 3), Examples(values=[1.0, 2.0], weights=[1.0, 2.0]), scores(1, math.inf)]
)
def test_what_cannot_be_compared(other: Examples) -> None:
    one = scores(*([1.0] * min(2, len(other.values))))
    assert paired_difference(one, other) is None


def test_the_noise_is_real_on_random_examples() -> None:
    generator = np.random.default_rng(0)
    within = [
        found.within_noise
        for _ in range(400)
        if (found := paired_difference(scores(*generator.normal(size=50)), scores(*generator.normal(size=50))))
    ]
    assert 0.92 < sum(within) / 400 < 0.98


def evaluation(tasks: dict[str, TaskResult]) -> Evaluation:
    settings = EvaluationSettings(
        text="none", window_length=8, windows=None, suite=None, limit=None, fewshot=None, batch_size=1,
        seeds=Seeds.of(0), lm_eval=None, tasks={},
    )  # fmt: skip
    return Evaluation(perplexity=None, tasks=tasks, settings=settings)


def measure(value: float, stderr: float | None) -> Measure:
    return {"value": value, "stderr": stderr}


def test_evaluations_are_compared_by_example_where_there_are_any() -> None:
    one = evaluation({"a": {"acc": measure(0.5, 0.3), "f1": measure(0.5, 0.03)}, "b": {"error": "x"}})
    other = evaluation({"a": {"acc": measure(0.0, 0.3), "f1": measure(0.4, 0.04)}, "b": {"acc": measure(0.0, 0.1)}})
    compared = differences(one, other, {("a", "acc"): scores(1, 0)}, {("a", "acc"): scores(0, 0)})
    assert compared.perplexity is None
    assert set(compared.by_measure()) == {"a/acc", "a/f1"}
    assert compared.tasks["a"]["acc"].paired
    f1 = compared.tasks["a"]["f1"]
    assert not f1.paired
    assert (f1.value, f1.stderr, f1.within_noise) == (pytest.approx(0.1), pytest.approx(0.05), False)


def test_scores_without_a_standard_error_have_no_noise() -> None:
    one = evaluation({"a": {"bleu": measure(math.nan, 0.1), "ter": measure(1.0, None)}})
    assert differences(one, one, {}, {}) == Differences(perplexity=None, tasks={})


def test_examples_survive_a_table() -> None:
    examples = {
        ("", "perplexity"): Examples(values=[1.0, math.inf], weights=[1.0, 1.0], logarithmic=True),
        ("a", "exact_match/strict-match"): scores(1, 0),
    }
    assert read_examples(examples_table(examples)) == examples
    assert read_examples(examples_table({})) == {}
