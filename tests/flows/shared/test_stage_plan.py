"""What the stages of a run need to be measured, and which of them are in the store."""

from pathlib import Path

import pytest

from flows.parameters.pipeline import PipelineParameters
from flows.parameters.search import SearchFlowParameters
from flows.parameters.statistics import StatisticsParameters
from flows.parameters.transfer import TransferParameters
from flows.shared.stage_plan import PlannedStage, planned_stages, stored_artifacts
from tasks.store import artifacts as store
from tasks.store.artifacts import Artifact, Request


@pytest.mark.parametrize(
    ("parameters", "steps"),
    [
        (StatisticsParameters(calibration="text.txt"), {"statistics"}),
        (SearchFlowParameters(calibration="text.txt"), {"statistics", "search"}),
        (SearchFlowParameters(calibration="self"), {"statistics", "search", "decode"}),
        (TransferParameters(calibration="text.txt"), {"statistics", "window"}),
        (PipelineParameters(calibration="text.txt"), {"statistics", "search", "window"}),
        (
            PipelineParameters(calibration="text.txt", reconstruction="admm"),
            {"statistics", "search", "window", "reconstruction", "sparsegpt"},
        ),
    ],
    ids=["statistics", "search", "own text", "transfer", "run", "reconstruction"],
)
def test_only_the_steps_of_the_run_are_measured(parameters: StatisticsParameters, steps: set[str]) -> None:
    assert {step for stage in planned_stages(parameters) for step in stage.steps} == steps


def test_every_stage_with_a_measured_step_is_expensive() -> None:
    stages = planned_stages(PipelineParameters(calibration="self", reconstruction="admm"))
    assert {stage.label for stage in stages if stage.steps} == {stage.label for stage in stages if stage.expensive}


def test_a_stage_after_a_missing_one_is_not_stored() -> None:
    def write(outputs: Path) -> None:
        (outputs / "x").touch()

    artifact = store.make_once(Request("first", 1, "first-1", {}, {}), write)

    def plan(first: Artifact | None) -> list[PlannedStage]:
        return [
            PlannedStage("first", lambda *_: 1.0, lambda _: first),
            PlannedStage("second", lambda *_: 1.0, lambda artifacts: artifacts["first"]),
            PlannedStage("third", lambda *_: 1.0),
        ]

    assert stored_artifacts(plan(artifact)) == {"first": artifact, "second": artifact}
    assert stored_artifacts(plan(None)) == {}


def test_a_key_error_of_a_stage_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        stored_artifacts([PlannedStage("broken", lambda *_: 1.0, lambda _: {}["digest"])])
