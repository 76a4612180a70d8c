"""The addresses that a person is told."""

import pytest

from flows.shared.summary import mlflow_page, zeros_in_words
from optishear.models.coverage import Coverage
from optishear.run_metrics.checkpoint import CheckpointMetrics
from tasks.tracking.experiment import Tracking
from tasks.tracking.mlflow_run import TrackedRun


def page(uri: str) -> str | None:
    return mlflow_page(TrackedRun(Tracking(uri, "3"), "abc"))


def test_the_page_is_on_the_tracking_server() -> None:
    assert page("http://someone:secret@mlflow:5000/") == "http://someone:***@mlflow:5000/#/experiments/3/runs/abc"
    assert page("sqlite:///mlflow.db") is None


def test_people_may_reach_the_server_by_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTISHEAR_MLFLOW_UI_URL", "http://127.0.0.1:5001/")
    assert page("http://mlflow:5000") == "http://127.0.0.1:5001/#/experiments/3/runs/abc"


def checkpoint(overall: float, share: float) -> CheckpointMetrics:
    """A checkpoint at 50 % of its prunable weights; only what the sentence reads is set."""
    coverage = Coverage(matrix_weights=100, prunable_weights=round(100 * share), left_out={})
    return CheckpointMetrics.model_construct(achieved_sparsity=0.5, sparsity_of_all_matrices=overall, coverage=coverage)


def test_wording_of_zeros_over_all_matrices_of_the_decoder_layers() -> None:
    assert zeros_in_words(checkpoint(0.5, 1.0), "m") == "50.00% of the weights in the decoder layers of m"
    assert zeros_in_words(checkpoint(0.015, 0.03)) == (
        "1.50% of the weights in the decoder layers (50.00% of the prunable ones, which are 3.00% of them)"
    )
