"""The checks of a command are made once."""

from typing import Any

import pytest

from flows.parameters.pipeline import PipelineParameters
from flows.parameters.sweep import SweepParameters, pipelines_of
from flows.shared import checks
from optishear.parameters.model import ModelParameters
from optishear.parameters.read import read_parameters


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sparsities of the parameters that were checked."""
    sparsities: list[str] = []

    def note(parameters: Any) -> None:
        sparsities.append(str(parameters.sparsity))

    monkeypatch.setattr(checks, "CHECKS", (((ModelParameters,), note),))
    return sparsities


def test_a_flow_of_the_command_line_is_not_checked_again(made: list[str]) -> None:
    parameters = read_parameters(PipelineParameters, {"sparsity": "0.5"})
    with checks.checked(parameters):
        checks.check(parameters)
        checks.check(parameters.model_copy(update={"sparsity": "0.6"}))
    assert made == ["0.5", "0.6"]
    checks.check(parameters)
    assert made == ["0.5", "0.6", "0.5"]


def test_a_sweep_checks_each_of_its_runs_once(made: list[str]) -> None:
    parameters = read_parameters(SweepParameters, {"sparsities": ["0.4", "2:4"]})
    with checks.checked(parameters):
        checks.check(parameters)
        for pipeline in pipelines_of(parameters).values():
            checks.check(pipeline)
    assert made == ["0.4", "2:4"]
