"""The table of scores as text."""

from typing import Any

from optishear.report.tables import score_markdown

ACC = {"acc": {"value": 0.6, "stderr": 0.0126}}
METRICS: dict[str, Any] = {
    "dense": {"perplexity": 22.881, "sparsity": 0.0, "tasks": {"boolq": ACC, "rte": {"error": "KeyError"}}},
    "wanda": {"perplexity": 50.0, "sparsity": 0.5, "tasks": {"boolq": {"error": "KeyError"}}},
    "pruned": {"perplexity": 45.0, "sparsity": 0.5, "tasks": {"boolq": ACC, "a|b": {"f1": {"value": 0.5}}}},
    "differences": {"wanda": {"perplexity": {"value": -0.1, "stderr": 0.2, "within_noise": True}}},
}


def test_wording_of_the_table_of_scores_in_which_failed_tasks_say_so() -> None:
    assert score_markdown(METRICS).replace("\N{NO-BREAK SPACE}", " ").splitlines() == [
        "|  | dense | Wanda | pruned | pruned against Wanda |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| perplexity (lower is better) | 22.9 | 50.0 | 45.0 | −10.0 %, within noise |",
        "| boolq acc | 0.600 ± 0.013 | failed | 0.600 ± 0.013 |  |",
        "| rte | failed | – | – |  |",
        "| a\\|b f1 | – | – | 0.500 |  |",
        "| sparsity of the pruned layers | 0 % | 50 % | 50 % |  |",
    ]
