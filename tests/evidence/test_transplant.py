from optishear.evidence.matrix import Matrix, Scores
from optishear.evidence.transplant import transplant_evidence
from wording import numbers_in

ROWS = ("uniform", "owl", "searched")
VALUES = {
    ("uniform", "wanda"): 50.0, ("owl", "wanda"): 60.0, ("searched", "wanda"): 40.0,
    ("uniform", "ria"): 80.0, ("owl", "ria"): 40.0, ("searched", "ria"): 64.0,
}  # fmt: skip


def test_ratios_are_compared_under_each_metric() -> None:
    evidence = transplant_evidence("model", Matrix(ROWS, ("wanda", "ria"), VALUES, {}), Scores({"boolq/acc": {}}))
    # 1.2 and 0.5; 0.8 and 0.8.
    assert numbers_in(evidence.verdict) == [0.775, 0.8]
    assert numbers_in(evidence.remarks[0]) == [1, 2]
    rows = {(row["ratios"], row["metric"]): row for row in evidence.table.to_pylist()}
    assert rows["owl", "ria"]["to_uniform"] == 0.5
    assert rows["owl", "ria"]["boolq/acc"] is None


def test_wording_of_the_verdict_and_the_remarks() -> None:
    evidence = transplant_evidence("model", Matrix(ROWS, ("wanda", "ria"), VALUES, {}), Scores())
    assert evidence.verdict == (
        "Perplexity on average over the metrics, against the same metrics with uniform ratios: owl 0.775 times, "
        "searched 0.800 times."
    )
    assert evidence.remarks == ("The searched ratios are the best of all for 1 of 2 metrics.",)
    near = {**VALUES, ("searched", "ria"): 40.1}
    evidence = transplant_evidence("model", Matrix(ROWS, ("wanda", "ria"), near, {}), Scores())
    assert evidence.remarks == (
        "The searched ratios are the best of all for 1 of 2 metrics, and level with the best for 1 (within 0.5 %).",
    )


def test_a_lost_reference_leaves_the_other_metrics() -> None:
    left = {cell: value for cell, value in VALUES.items() if cell != ("uniform", "ria")}
    evidence = transplant_evidence(
        "model", Matrix(ROWS, ("wanda", "ria"), left, {("uniform", "ria"): "lost"}), Scores()
    )
    assert "owl 1.200 times, searched 0.800 times" in evidence.verdict
    assert numbers_in(evidence.remarks[-1]) == [1]
    assert "uniform × ria: lost" in evidence.remarks[-1]


def test_what_is_as_good_as_the_best_is_level_with_it() -> None:
    near = {**VALUES, ("searched", "ria"): 40.1}
    evidence = transplant_evidence("model", Matrix(ROWS, ("wanda", "ria"), near, {}), Scores())
    assert numbers_in(evidence.remarks[0]) == [1, 2, 1, 0.5]


def test_a_failed_task_is_told_and_leaves_the_perplexity() -> None:
    tasks = Scores({"boolq/acc": {("owl", "ria"): 0.5}}, {("owl", "wanda"): "boolq: no data"})
    evidence = transplant_evidence("model", Matrix(ROWS, ("wanda", "ria"), VALUES, {}), tasks)
    assert numbers_in(evidence.remarks[-1]) == [1]
    assert "owl × wanda: boolq: no data" in evidence.remarks[-1]
    rows = {(row["ratios"], row["metric"]): row for row in evidence.table.to_pylist()}
    assert (rows["owl", "wanda"]["perplexity"], rows["owl", "wanda"]["failure"]) == (60, "boolq: no data")
    assert (rows["owl", "ria"]["boolq/acc"], rows["owl", "ria"]["failure"]) == (0.5, None)
