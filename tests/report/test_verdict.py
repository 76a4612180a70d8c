import math
from typing import Any

import pytest

from optishear.pattern import parse_pattern
from optishear.report.verdict import verdict
from run_metrics.samples import beside_sparsegpt, changed, make_metrics
from wording import numbers_in

HALF = parse_pattern("0.5")


def sentence(dense: float | None, wanda: float | None, pruned: float | None) -> tuple[str, str]:
    result = verdict(make_metrics(dense, wanda, pruned, tasks=False), HALF)
    return result.outcome, result.sentence.replace("\N{NO-BREAK SPACE}", " ")


def test_wording_of_the_share_of_the_loss_that_is_given_back() -> None:
    # (47.81 - 44.1) / (47.81 - 22.88) = 0.1488
    assert sentence(22.88, 47.81, 44.1) == (
        "better",
        "50 % pruned: perplexity 44.1, against 47.8 with Wanda and 22.9 dense: "
        "the searched recipe gives back 15 % of what Wanda lost.",
    )


@pytest.mark.parametrize(
    ("dense", "wanda", "pruned", "outcome", "words"),
    [
        # (51.2 - 47.81) / (47.81 - 22.88) = 0.136
        (22.88, 47.81, 51.2, "worse", "loses 14 % more than Wanda loses, so Wanda is the better choice here"),
        # 1 + (97.67 - 47.81) / 24.93 = 3
        (22.88, 47.81, 97.67, "worse", "loses 3.00 times what Wanda loses, so Wanda is the better choice here"),
        (22.88, 47.81, 47.7, "level", "the searched recipe and Wanda are level, within 0.5 %"),
        (22.88, 47.81, 47.81, "level", "the searched recipe and Wanda are level, within 0.5 %"),
        (22.88, 47.81, 22.0, "better", "gives back all of what Wanda lost"),
        (50.0, 47.0, 43.0, "better", "the searched recipe's is 9 % lower than Wanda's"),
        (None, 40.0, 44.0, "worse", "the searched recipe's is 10 % higher than Wanda's"),
        (math.nan, 40.0, 44.0, "worse", "the searched recipe's is 10 % higher than Wanda's"),
        (22.88, None, 44.1, "unknown", "there is no Wanda to compare the searched recipe with"),
        (22.88, 47.81, None, "unknown", "perplexity not measured, against 47.8 with Wanda and 22.9 dense"),
        (22.88, 47.81, math.inf, "worse", "the searched recipe breaks the model, Wanda does not"),
        (22.88, math.nan, math.nan, "unknown", "the searched recipe breaks the model"),
        (22.88, math.inf, 60.0, "better", "Wanda breaks the model, the searched recipe does not"),
        (None, None, None, "unknown", "no perplexity was measured: nothing can be said"),
    ],
)
def test_the_wording_fits_what_was_measured(
    dense: float | None, wanda: float | None, pruned: float | None, outcome: str, words: str
) -> None:
    found, text = sentence(dense, wanda, pruned)
    assert found == outcome
    assert words in text
    assert "nan" not in text
    assert "inf " not in text


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (40.4, "has a perplexity of 40.4; the pruned model's is 9 % higher."),
        (63.0, "has a perplexity of 63.0; the pruned model's is 30 % lower."),
        (44.2, "has a perplexity of 44.2; the two are level."),
        (math.inf, "has a perplexity of “infinite”."),
        (None, "has no perplexity to compare."),
    ],
)
def test_wording_of_the_remark_on_sparsegpt(theirs: float | None, words: str) -> None:
    remark = verdict(beside_sparsegpt(theirs), HALF).remarks[0].replace("\N{NO-BREAK SPACE}", " ")
    assert remark.endswith(f" {words} It took 47.5 s to make, the pruned model 2 h 37 min.")


def test_sparsegpt_within_the_noise_is_level() -> None:
    noise = {"value": 0.09, "stderr": 0.1, "paired": True, "within_noise": True}
    metrics = changed(beside_sparsegpt(), {"differences.sparsegpt.perplexity": noise})
    assert "level" in verdict(metrics, HALF).remarks[0]
    assert "SparseGPT" not in " ".join(verdict(make_metrics(), HALF).remarks)


def test_a_run_without_perplexity_is_no_verdict() -> None:
    assert verdict(make_metrics(None, None, None), HALF).outcome == "unknown"


def test_missed_sparsity_is_a_remark() -> None:
    metrics = make_metrics(tasks=False)
    assert verdict(metrics, HALF).remarks == ()
    (remark,) = verdict(changed(metrics, {"achieved_sparsity": 0.47}), HALF).remarks
    assert "47\N{NO-BREAK SPACE}%, not the 50\N{NO-BREAK SPACE}% asked for" in remark
    assert "favours it" in remark
    assert "is hard on it" in verdict(changed(metrics, {"achieved_sparsity": 0.53}), HALF).remarks[0]


def test_mean_accuracy_is_over_the_tasks_that_all_three_have() -> None:
    metrics = changed(make_metrics(), {"wanda.tasks.local_arc_easy": {"error": "KeyError"}})
    (remark,) = verdict(metrics, HALF).remarks
    assert numbers_in(remark) == [1, 0.577, 0.564, 0.612]


def difference(stderr: float, within_noise: bool) -> dict[str, Any]:
    return {"value": -0.08, "stderr": stderr, "paired": True, "logarithmic": False, "within_noise": within_noise}


def test_a_difference_within_the_noise_is_level() -> None:
    metrics = make_metrics(tasks=False)
    result = verdict(changed(metrics, {"differences.wanda.perplexity": difference(0.1, True)}), HALF)
    assert result.outcome == "level"
    assert "noise" in result.sentence
    real = changed(metrics, {"differences.wanda.perplexity": difference(0.01, False)})
    assert verdict(real, HALF).outcome == "better"


@pytest.mark.parametrize(("stderr", "word"), [(0.02, "less"), (0.005, "more")])
def test_the_mean_accuracy_says_whether_it_is_noise(stderr: float, word: str) -> None:
    # Both tasks differ by 0.013; the noise of their mean is 1.96 * stderr / sqrt(2).
    noise = {task: {"acc": difference(stderr, True)} for task in ("local_boolq", "local_arc_easy")}
    metrics = changed(make_metrics(), {"differences.wanda.tasks": noise})
    (remark,) = verdict(metrics, HALF).remarks
    assert f" {word} than the noise" in remark


def test_a_group_does_not_count_beside_its_tasks() -> None:
    score = {"acc": {"value": 0.9, "stderr": 0.01}}
    metrics = changed(make_metrics(), {f"{model}.tasks.group": score for model in ("dense", "wanda", "pruned")})
    assert verdict(metrics, HALF).remarks[0].startswith("Mean accuracy over 2 tasks: 0.522 pruned")


def test_wording_of_the_remarks_on_little_coverage_and_on_experts_with_few_tokens() -> None:
    metrics = changed(
        make_metrics(tasks=False),
        {
            "coverage": {"matrix_weights": 100, "prunable_weights": 3, "left_out": {"mlp.experts": 97}},
            "sparsity_of_all_matrices": 0.015,
            "experts": {"layers": 8, "smallest_tokens": 64, "few_tokens": {"a.0": 3}},
        },
    )

    remarks = verdict(metrics, HALF).remarks

    assert remarks == (
        "Only 3.00% of the weights in the decoder blocks' matrices are prunable; left out: mlp.experts (97.00%). "
        "1.50% of all these weights are zero.",
        "1 of 8 layers of experts got fewer than 64 calibration tokens and were pruned on the statistics of all "
        "experts of their block: a.0 (3).",
    )
    assert verdict(make_metrics(tasks=False), HALF).remarks == ()


def test_dense_layers_beside_a_pattern_are_stated_and_not_taken_for_a_missed_target() -> None:
    layers = {"asked": 0.1, "share": 0.0938, "names": ["a", "b", "c"], "front": []}
    metrics = changed(make_metrics(tasks=False), {"achieved_sparsity": 0.4531, "dense_layers": layers})
    found = verdict(metrics, parse_pattern("2:4"))
    (remark,) = [remark for remark in found.remarks if "dense" in remark]
    assert numbers_in(remark) == [3, 9.38, 10]
    assert numbers_in(found.sentence)[:4] == [2, 4, 10, 45]


def test_layers_of_patterns_between_are_counted() -> None:
    layers = {"asked": 0.1, "share": 0.1, "names": ["a"], "denser": {"6:8": ["b", "c"]}}
    metrics = changed(make_metrics(tasks=False), {"dense_layers": layers, "achieved_sparsity": 0.45})
    (remark,) = [remark for remark in verdict(metrics, parse_pattern("4:8")).remarks if "dense" in remark]
    assert numbers_in(remark) == [1, 2, 6, 8, 10]
