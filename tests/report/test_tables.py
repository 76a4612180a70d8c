"""The tables of the report."""

import pytest

from optishear.report.tables import footprint_verdict, prior_rows, score_markdown, settings_words
from run_metrics.samples import beside_sparsegpt, changed, make_metrics

ACC = {"acc": {"value": 0.6, "stderr": 0.0126}}
FAILED = {"error": "KeyError"}


def test_wording_of_the_table_of_scores_in_which_failed_tasks_say_so() -> None:
    noise = {"value": -0.1, "stderr": 0.2, "paired": True, "within_noise": True}
    metrics = changed(
        make_metrics(22.881, 50.0, 45.0),
        {
            "dense.tasks": {"boolq": ACC, "rte": FAILED},
            "wanda.tasks": {"boolq": FAILED},
            "pruned.tasks": {"boolq": ACC, "a|b": {"f1": {"value": 0.5, "stderr": None}}},
            "pruned.sparsity": 0.5,
            "wanda.sparsity_of_all_matrices": 0.4321,
            "pruned.sparsity_of_all_matrices": None,
            "differences.wanda.perplexity": noise,
        },
    )
    assert score_markdown(metrics).replace("\N{NO-BREAK SPACE}", " ").splitlines() == [
        "|  | dense | Wanda | pruned | pruned against Wanda |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| perplexity (lower is better) | 22.9 | 50.0 | 45.0 | −10.0 %, within noise |",
        "| boolq acc | 0.600 ± 0.013 | failed | 0.600 ± 0.013 |  |",
        "| rte | failed | – | – |  |",
        "| a\\|b f1 | – | – | 0.500 |  |",
        "| sparsity of the prunable layers | 0 % | 50 % | 50 % |  |",
        "| sparsity of all matrices in the decoder layers | 0 % | 43.21 % | – |  |",
    ]


def test_wording_of_the_table_beside_sparsegpt_with_the_time_of_each() -> None:
    assert score_markdown(beside_sparsegpt(tasks=False)).replace("\N{NO-BREAK SPACE}", " ").splitlines() == [
        "|  | dense | Wanda | SparseGPT | pruned | pruned against Wanda |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| perplexity (lower is better) | 22.9 | 47.8 | 40.4 | 44.1 | −7.8 % |",
        "| sparsity of the prunable layers | 0 % | 50 % | 50 % | 50.01 % |  |",
        "| sparsity of all matrices in the decoder layers | 0 % | 50 % | 50 % | 50.01 % |  |",
        "| time to make it | – | 10.2 s | 47.5 s | 2 h 37 min |  |",
    ]


@pytest.mark.parametrize(("bos", "words"), [(None, "tokens."), ("each-window", "each of"), ("text-start", "the first")])
def test_wording_of_the_windows_says_where_the_bos_is(bos: str | None, words: str) -> None:
    sentence = settings_words(changed(make_metrics(), {"pruned.settings.bos": bos})).split(" Tasks")[0]
    assert sentence.startswith("Perplexity on python-docs, 16 windows of 1024 tokens")
    assert words in sentence


def test_wording_of_the_documents_of_the_calibration_text() -> None:
    assert "document" not in settings_words(make_metrics())
    words = settings_words(changed(make_metrics(), {"calibration_documents": 3}))
    assert " Calibration text from 3 documents. " in words


def test_priors_are_shown_against_the_best() -> None:
    assert prior_rows(make_metrics()) == [("linear 0.1", "0.750", ""), ("dlp", "0.900", "+20.0 %")]
    assert prior_rows(changed(make_metrics(), {"search": None})) == []


@pytest.mark.parametrize(
    ("speed", "sparse_layers", "faster"), [(34.0, 210, True), (34.0, 0, False), (21.0, 210, False), (34.0, None, None)]
)
def test_a_gain_is_claimed_only_where_layers_run_sparse_and_time_is_saved(
    speed: float, sparse_layers: int | None, faster: bool | None
) -> None:
    """The dense model has 20 tokens per second."""
    packed = make_metrics().pruned.footprint["bitmask"]
    packed = packed.model_copy(update={"tokens_per_second": speed, "sparse_layers": sparse_layers})
    verdict = footprint_verdict(changed(make_metrics(), {"pruned.footprint": {"bitmask": packed.model_dump()}}))
    assert verdict.startswith("Faster here") == (faster is True)
    assert verdict.startswith("No faster here") == (faster is False)
