from typing import Any

import pyarrow as pa

from optishear.evaluation.comparison import comparison_table, markdown

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
        pa.schema([("model", "string"), ("measure", "string"), ("value", "float64"), ("stderr", "float64")])
    )
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("dense", "perplexity", 22.881, None),
        ("dense", "sparsity", 0.0, None),
        ("dense", "boolq/acc", 0.6, 0.0126),
        ("dense", "gsm8k/exact_match/strict-match", 0.1, None),
        ("wanda", "perplexity", 47.81, None),
        ("wanda", "sparsity", 0.5, None),
        ("pruned", "perplexity", float("inf"), None),
        ("pruned", "sparsity", 0.5, None),
    ]


def test_markdown_has_a_column_for_each_model() -> None:
    assert markdown(METRICS).splitlines() == [
        "| measure | dense | wanda | pruned |",
        "| --- | ---: | ---: | ---: |",
        "| perplexity | 22.88 | 47.81 | inf |",
        "| sparsity | 0.000 | 0.500 | 0.500 |",
        "| boolq/acc | 0.600 ± 0.013 | failed | – |",
        "| gsm8k/exact_match/strict-match | 0.100 | – | – |",
        "| rte | – | failed | failed |",
    ]


def test_models_that_are_missing_are_left_out() -> None:
    metrics = {"dense": METRICS["dense"], "wanda": None}
    assert set(comparison_table(metrics).column("model").to_pylist()) == {"dense"}
    assert markdown(metrics).splitlines()[0] == "| measure | dense |"


def test_an_evaluation_without_tasks_or_perplexity_has_fewer_rows() -> None:
    metrics = {"dense": {"perplexity": None, "tasks": None}, "pruned": {"perplexity": 3.0}}
    assert comparison_table(metrics).to_pylist() == [
        {"model": "pruned", "measure": "perplexity", "value": 3.0, "stderr": None}
    ]
    assert markdown(metrics).splitlines()[2:] == ["| perplexity | – | 3.00 |"]


def test_no_models_make_an_empty_table() -> None:
    assert comparison_table({}).num_rows == 0
    assert markdown({}).splitlines() == ["| measure |", "| --- |"]
