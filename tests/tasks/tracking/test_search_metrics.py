"""How far a search is stands in MLflow while it works, each step once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from flows.parameters.pipeline import PipelineParameters
from optishear.models.precision import given_precision
from optishear.searching.journal import Journal
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.search import load_recipe, search_stage
from tasks.stages.statistics import statistics_stage
from tasks.store.artifacts import Artifact, forget
from tasks.tracking import point_log
from tasks.tracking.flow_runs import tracked_run
from tasks.tracking.mlflow_run import TrackedRun
from tasks.tracking.stage_runs import stage_run

PRECISION = given_precision("float32")


@pytest.fixture
def parameters(tracked_parameters: PipelineParameters, model_folder: Path, tmp_path: Path) -> PipelineParameters:
    text = tmp_path / "text.txt"
    text.write_text("the rest of this heat is on that other hand, and it has no end. " * 40)
    search = {"search_sequences": 2, "trials": 60, "population": 8, "rounds": 2, "metric_scope": "model"}
    data = {"calibration": str(text), "sequences": 4, "sequence_length": 32}
    return tracked_parameters.model_copy(update={"model": str(model_folder), **data, **search})


@pytest.fixture
def search(parameters: PipelineParameters) -> Callable[[], tuple[Artifact, Run]]:
    """Runs the search in a flow's run; gives what it made and its own run."""

    def run() -> tuple[Artifact, Run]:
        blocks = calibrate_stage.make(parameters)
        observed = statistics_stage.make(parameters, blocks)
        request = search_stage.request(parameters, blocks, observed)
        with tracked_run("pipeline", parameters, PRECISION), stage_run("search", request) as stage:
            assert stage is not None
            found = search_stage.make(parameters, blocks, observed)
            stage.finish(found, {})
        return found, stage.run.read()

    return run


def histories(parameters: PipelineParameters, run: Run) -> dict[str, list[tuple[int, float]]]:
    client = MlflowClient(tracking_uri=parameters.tracking_uri)
    return {
        name: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
        if name.startswith("best/")
    }


def test_the_best_so_far_of_each_number_of_sequences(
    search: Callable[[], tuple[Artifact, Run]], parameters: PipelineParameters
) -> None:
    found, run = search()
    best = histories(parameters, run)
    assert set(best) == {"best/kl/1_sequences", "best/kl/2_sequences"}
    for points in best.values():
        assert len(points) > 2
        assert [step for step, _ in points] == sorted({step for step, _ in points})
        values = [value for _, value in points]
        assert values == sorted(values, reverse=True)
    assert best["best/kl/2_sequences"][-1][1] == load_recipe(found).objectives["kl"]


class Stopped(BaseException):
    """As hard as a kill, but for the test."""


def test_a_stopped_search_goes_on_without_logging_a_step_twice(
    search: Callable[[], tuple[Artifact, Run]], parameters: PipelineParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Journal.put
    count = 0

    def stop(journal: Journal, *arguments: object) -> None:
        nonlocal count
        count += 1
        if count == 40:
            raise Stopped
        put(journal, *arguments)  # type: ignore[arg-type]

    logged: list[int] = []
    log_points = TrackedRun.log_points

    def log(run: TrackedRun, points: list[point_log.Point]) -> None:
        logged.extend(step for _, step, _ in points)
        log_points(run, points)

    monkeypatch.setattr(TrackedRun, "log_points", log)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "put", stop)
        with pytest.raises(Stopped):
            search()
    before = len(logged)
    assert before > 2
    found, run = search()
    assert logged[before] == logged[0]  # the same trials again, from the journal
    continued = histories(parameters, run)

    # An undisturbed search of the same trials logs the same.
    forget(found)
    other = parameters.model_copy(update={"experiment": "undisturbed"})
    blocks = calibrate_stage.make(other)
    observed = statistics_stage.make(other, blocks)
    with (
        tracked_run("pipeline", other, PRECISION),
        stage_run("search", search_stage.request(other, blocks, observed)) as stage,
    ):
        assert stage is not None
        search_stage.make(other, blocks, observed)
    assert histories(other, stage.run.read()) == continued


def test_a_search_does_not_wait_for_a_server_that_is_away(
    search: Callable[[], tuple[Artifact, Run]],
    parameters: PipelineParameters,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log_points = TrackedRun.log_points
    tries = 0

    def away(run: TrackedRun, points: list[point_log.Point]) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionError("no route to host")
        log_points(run, points)

    monkeypatch.setattr(TrackedRun, "log_points", away)
    found, run = search()
    assert tries == 2  # once at the first generation, and all that had waited at the end
    assert "no route to host" in caplog.text
    best = histories(parameters, run)
    assert best["best/kl/2_sequences"][-1][1] == load_recipe(found).objectives["kl"]
