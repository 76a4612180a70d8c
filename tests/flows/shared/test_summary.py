"""The addresses that a person is told."""

import pytest

from flows.shared.summary import mlflow_page, zeros_in_words
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


def test_wording_of_zeros_over_all_matrices_of_the_decoder_layers() -> None:
    complete = {"achieved_sparsity": 0.5, "sparsity_of_all_matrices": 0.5, "coverage": {"prunable_share": 1.0}}
    partial = {"achieved_sparsity": 0.5, "sparsity_of_all_matrices": 0.015, "coverage": {"prunable_share": 0.03}}

    assert zeros_in_words(complete, "m") == "50.00% of the weights in the decoder layers of m"
    assert zeros_in_words(partial) == (
        "1.50% of the weights in the decoder layers (50.00% of the prunable ones, which are 3.00% of them)"
    )
