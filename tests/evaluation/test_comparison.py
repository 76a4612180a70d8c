from typing import Any

import pyarrow as pa

from optishear.evaluation.comparison import comparison_table

METRICS: dict[str, Any] = {
    "model": "m",
    "dense": {
        "perplexity": 22.881,
        "sparsity": 0.0,
        "tasks": {
            "boolq": {"acc": {"value": 0.6, "stderr": 0.0126}},
            "gsm8k": {"exact_match/strict-match": {"value": 0.1, "stderr": None}},
        },
    },
    "wanda": {
        "perplexity": 47.81,
        "sparsity": 0.5,
        "tasks": {"boolq": {"error": "KeyError"}, "rte": {"error": "KeyError"}},
    },
    "pruned": {"perplexity": float("inf"), "sparsity": 0.5, "tasks": {"rte": {"error": "KeyError"}}},
}


def test_the_table_has_a_row_for_each_model_and_measure() -> None:
    table = comparison_table(METRICS)
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
        ("wanda", "perplexity", 47.81, None),
        ("wanda", "sparsity", 0.5, None),
        ("pruned", "perplexity", float("inf"), None),
        ("pruned", "sparsity", 0.5, None),
    ]


def test_a_difference_says_when_it_is_within_the_noise() -> None:
    def evaluation(perplexity: float, acc: float) -> dict[str, Any]:
        return {"perplexity": perplexity, "tasks": {"boolq": {"acc": {"value": acc, "stderr": 0.03}}}}

    noise = {"value": -0.1, "stderr": 0.02, "within_noise": False}
    metrics = {
        "wanda": evaluation(50.0, 0.6),
        "pruned": evaluation(45.0, 0.58),
        "differences": {
            "wanda": {"perplexity": noise, "tasks": {"boolq": {"acc": {**noise, "value": -0.02, "within_noise": True}}}}
        },
    }
    rows = {(row["model"], row["measure"]): row for row in comparison_table(metrics).to_pylist()}
    assert rows["pruned", "boolq/acc"]["within_noise"] is True
    assert rows["pruned", "perplexity"]["difference"] == -0.1
    assert rows["wanda", "perplexity"]["difference"] is None


def test_models_that_are_missing_are_left_out() -> None:
    metrics = {"dense": METRICS["dense"], "wanda": None}
    assert set(comparison_table(metrics).column("model").to_pylist()) == {"dense"}


def test_an_evaluation_without_tasks_or_perplexity_has_fewer_rows() -> None:
    metrics = {"dense": {"perplexity": None, "tasks": None}, "pruned": {"perplexity": 3.0}}
    (row,) = comparison_table(metrics).to_pylist()
    assert (row["model"], row["measure"], row["value"], row["stderr"]) == ("pruned", "perplexity", 3.0, None)


def test_no_models_make_an_empty_table() -> None:
    assert comparison_table({}).num_rows == 0
