"""The addresses that a person is told."""

from pathlib import Path

import pytest

from flows.shared.summary import mlflow_page, runs_page, where, zeros_in_words
from optishear.models.coverage import Coverage
from optishear.run_metrics.checkpoint import CheckpointMetrics
from tasks.tracking.experiment import Tracking
from tasks.tracking.mlflow_run import TrackedRun

# The view with the runs, which is not the first one of a browser.
ROUTE = "#/experiments/3/runs/abc?workflowType=machine_learning"


def page(uri: str) -> str | None:
    return mlflow_page(TrackedRun(Tracking(uri, "3"), "abc"))


def test_the_page_is_on_the_tracking_server() -> None:
    assert page("http://someone:secret@mlflow:5000/") == f"http://someone:***@mlflow:5000/{ROUTE}"
    assert page("sqlite:///mlflow.db") is None


def test_people_may_reach_the_server_by_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTISHEAR_MLFLOW_UI_URL", "http://127.0.0.1:5001/")
    assert page("http://mlflow:5000") == f"http://127.0.0.1:5001/{ROUTE}"


def test_a_file_of_a_run_has_a_page() -> None:
    run = TrackedRun(Tracking("http://mlflow:5000", "3"), "abc")
    assert mlflow_page(run, "report.html") == (
        "http://mlflow:5000/#/experiments/3/runs/abc/artifacts/report.html?workflowType=machine_learning"
    )
    assert mlflow_page(TrackedRun(Tracking("sqlite:///mlflow.db", "3"), "abc"), "report.html") is None


def test_a_database_is_opened_at_the_page_of_the_run(tmp_path: Path) -> None:
    run = TrackedRun(Tracking("sqlite:///mlflow.db", "3"), "abc")
    (line,) = [line for line in where(tmp_path, {}, run).splitlines() if line.startswith("MLflow")]
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db " in line
    assert f"http://127.0.0.1:5000/{ROUTE}" in line


def test_the_list_of_runs_opens_with_its_columns(tmp_path: Path) -> None:
    route = "#/experiments/3/runs?viewStateShareKey=optishear&workflowType=machine_learning"
    for uri, address in (("http://mlflow:5000", "http://mlflow:5000"), ("sqlite:///m.db", "http://127.0.0.1:5000")):
        lines = where(tmp_path, {}, TrackedRun(Tracking(uri, "3"), "abc")).splitlines()
        assert f"all runs  {address}/{route}" in lines
    assert runs_page(Tracking("http://someone:secret@mlflow:5000", "3")) == f"http://someone:***@mlflow:5000/{route}"
    assert runs_page(Tracking("sqlite:///m.db", "3")) is None


def checkpoint(overall: float, share: float) -> CheckpointMetrics:
    """A checkpoint at 50 % of its prunable weights; only what the sentence reads is set."""
    coverage = Coverage(matrix_weights=100, prunable_weights=round(100 * share), left_out={})
    return CheckpointMetrics.model_construct(achieved_sparsity=0.5, sparsity_of_all_matrices=overall, coverage=coverage)


def test_wording_of_zeros_over_all_matrices_of_the_decoder_layers() -> None:
    assert zeros_in_words(checkpoint(0.5, 1.0), "m") == "50.00% of the weights in the decoder layers of m"
    assert zeros_in_words(checkpoint(0.015, 0.03)) == (
        "1.50% of the weights in the decoder layers (50.00% of the prunable ones, which are 3.00% of them)"
    )
