"""The best candidates once more, after reconstruction."""

from pathlib import Path
from typing import Any

import pytest
import torch

from optishear.calibration.calibration_set import CalibrationSet
from optishear.divergence.model_divergence import ModelDivergence
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.reconstruction.reconstruct import reconstruct
from optishear.searching import finalists
from optishear.searching.search import SearchResult, run_search
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model
from wording import refused

CALIBRATION = random_calibration(16, 32)
STATISTICS = collect_statistics(tiny_model(), CALIBRATION, progress=False)


def search(sparsity: str = "0.5", journal: Path | None = None, **changes: Any) -> SearchResult:
    model = tiny_model()
    dense = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = SearchParameters(**{"trials": 60, "population": 8, "descent_steps": 2, **changes})
    result = run_search(
        model, {"": CALIBRATION}, STATISTICS, parameters, parse_pattern(sparsity), journal=journal, progress=False
    )
    assert all(torch.equal(value, dense[name]) for name, value in model.state_dict().items())
    return result


@pytest.mark.parametrize("sparsity", ["0.6", "2:4"])
def test_the_best_after_reconstruction_is_chosen(sparsity: str) -> None:
    result = search(sparsity, reconstructed_finalists=4)
    rows = [row for row in result.trials.to_pylist() if row["reconstructed_kl"] is not None]
    assert len(rows) == 4
    (chosen,) = [row for row in rows if row["chosen"]]
    assert chosen["reconstructed_kl"] == min(row["reconstructed_kl"] for row in rows)
    assert result.recipe.objectives["reconstructed_kl"] == chosen["reconstructed_kl"]
    # All of them had better masks than whatever was not reconstructed.
    finalists = {row["trial"] for row in rows}
    others = [row for row in result.trials.to_pylist() if row["sequences"] == 4 and row["trial"] not in finalists]
    distinct = {(row["metrics"], row["sparsity_ratios"]) for row in rows}
    better = [row for row in others if row["kl"] < max(each["kl"] for each in rows)]
    assert all((row["metrics"], row["sparsity_ratios"]) in distinct for row in better)


def test_what_is_measured_is_what_the_stage_makes_on_sequences_that_evaluate_nothing() -> None:
    result = search("0.6", reconstructed_finalists=1)
    model = tiny_model()
    error = ModelDivergence(model, CALIBRATION.tokens[:4], ("kl",))
    solver = read_parameters(ReconstructionParameters, {"reconstruction": "admm"})
    reconstruct(model, result.recipe, STATISTICS, CalibrationSet(CALIBRATION.tokens[4:12], source=""), solver)
    assert result.recipe.objectives["reconstructed_kl"] == pytest.approx(error.measure()["kl"], rel=1e-6)


def test_what_was_reconstructed_once_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "journal.jsonl"
    first = search(journal=journal, reconstructed_finalists=2)

    def never(*_: Any) -> None:
        raise AssertionError("reconstructed again")

    monkeypatch.setattr(finalists, "reconstruct", never)
    again = search(journal=journal, reconstructed_finalists=2)
    assert (again.recipe, again.reason) == (first.recipe, first.reason)


def test_wording_of_the_reason() -> None:
    result = search("0.6", reconstructed_finalists=2)
    (chosen,) = [row for row in result.trials.to_pylist() if row["chosen"]]
    assert f"trial {chosen['trial']} is the best after reconstruction" in result.reason


def test_without_finalists_the_masks_decide() -> None:
    result = search()
    assert "reconstructed_kl" not in result.trials.column_names
    assert "reconstruction" not in result.reason


def test_no_sequences_to_fit_on_is_one_sentence() -> None:
    with refused("reconstructed_finalists", 2, 16, 12):
        search(reconstructed_finalists=2, search_sequences=12)


@pytest.mark.parametrize(
    ("given", "reconstruction", "sequences", "count"),
    [
        (None, {}, 32, 0),
        (None, {"reconstruction": "admm"}, 32, finalists.DEFAULT_FINALISTS),
        (None, {"tuning_steps": 5}, 32, finalists.DEFAULT_FINALISTS),
        (0, {"reconstruction": "admm"}, 32, 0),
        (5, {"reconstruction": "admm"}, 32, 5),
    ],
)
def test_a_run_that_reconstructs_has_finalists(
    given: int | None, reconstruction: dict[str, Any], sequences: int, count: int
) -> None:
    search = SearchParameters(reconstructed_finalists=given)
    solver = read_parameters(ReconstructionParameters, reconstruction)
    assert finalists.finalist_count(search, solver, sequences) == count


def test_without_sequences_to_fit_on_the_masks_decide_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    solver = read_parameters(ReconstructionParameters, {"reconstruction": "admm"})
    assert finalists.finalist_count(SearchParameters(search_sequences=4), solver, 5) == 0
    assert "5 calibration sequences" in caplog.text


def test_the_fit_is_short_and_leaves_a_quarter_out() -> None:
    assert finalists.fitting_sequences(SearchParameters(search_sequences=4), 64) == slice(4, 12)
    assert finalists.fitting_sequences(SearchParameters(search_sequences=4), 12) == slice(4, 9)
