import math

from optishear.run_metrics.evaluated_model import footprint_numbers

from .samples import changed, make_metrics


def test_finite_scores_leave_out_what_is_no_number() -> None:
    scores = {"a": {"acc": {"value": 0.5, "stderr": 0.1}, "ppl": {"value": math.inf, "stderr": None}}}
    failed = {"b": {"error": "KeyError"}}
    metrics = changed(make_metrics(pruned=math.nan), {"pruned.tasks": {**scores, **failed}})
    assert metrics.pruned.finite_scores() == {
        "sparsity": 0.5001,
        "sparsity_of_all_matrices": 0.5001,
        "a/acc": 0.5,
    }
    assert metrics.pruned.failed_tasks == ["b"]


def test_a_footprint_has_names_by_format() -> None:
    assert footprint_numbers(make_metrics().dense.footprint) == {
        "dense/disk_bytes": 269_000_000,
        "dense/memory_bytes": 270_000_000,
        "dense/tokens_per_second": 20.0,
        "dense/sparse_layers": 0,
    }
