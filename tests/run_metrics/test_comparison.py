import pyarrow as pa

from optishear.run_metrics.comparison import comparison_table

from .samples import beside_sparsegpt, changed, make_metrics

FAILED = {"boolq": {"error": "KeyError"}, "rte": {"error": "KeyError"}}


def test_the_table_has_a_row_for_each_model_and_measure() -> None:
    scores = {
        "boolq": {"acc": {"value": 0.6, "stderr": 0.0126}},
        "gsm8k": {"exact_match/strict-match": {"value": 0.1, "stderr": None}},
    }
    metrics = changed(
        make_metrics(22.881, None, float("inf"), tasks=False), {"dense.tasks": scores, "wanda.tasks": FAILED}
    )
    table = comparison_table(metrics)
    assert table.schema.equals(
        pa.schema(
            [
                ("model", "string"), ("measure", "string"), ("value", "float64"), ("stderr", "float64"),
                ("difference", "float64"), ("difference_stderr", "float64"), ("within_noise", "bool"),
            ]
        )
    )  # fmt: skip
    assert table["difference"].null_count == table["within_noise"].null_count == table.num_rows
    assert [tuple(row.values())[:4] for row in table.to_pylist()] == [
        ("dense", "perplexity", 22.881, None),
        ("dense", "sparsity", 0.0, None),
        ("dense", "boolq/acc", 0.6, 0.0126),
        ("dense", "gsm8k/exact_match/strict-match", 0.1, None),
        ("wanda", "sparsity", 0.5, None),
        ("pruned", "perplexity", float("inf"), None),
        ("pruned", "sparsity", 0.5001, None),
    ]


def test_what_each_model_took_to_make_is_a_measure() -> None:
    rows = [tuple(row.values())[:3] for row in comparison_table(beside_sparsegpt(tasks=False)).to_pylist()]
    assert [row for row in rows if row[1] != "sparsity"] == [
        ("dense", "perplexity", 22.88),
        ("wanda", "perplexity", 47.81),
        ("wanda", "making_seconds", 10.2),
        ("sparsegpt", "perplexity", 40.4),
        ("sparsegpt", "making_seconds", 47.5),
        ("pruned", "perplexity", 44.1),
        ("pruned", "making_seconds", 9433.1),
    ]


def test_a_difference_says_when_it_is_within_the_noise() -> None:
    noise = {"value": -0.1, "stderr": 0.02, "paired": True, "within_noise": False}
    tasks = {"local_boolq": {"acc": {**noise, "value": -0.02, "within_noise": True}}}
    metrics = changed(make_metrics(), {"differences.wanda": {"perplexity": noise, "tasks": tasks}})
    rows = {(row["model"], row["measure"]): row for row in comparison_table(metrics).to_pylist()}
    assert rows["pruned", "local_boolq/acc"]["within_noise"] is True
    assert rows["pruned", "perplexity"]["difference"] == -0.1
    assert rows["wanda", "perplexity"]["difference"] is None
