"""Each stage has an MLflow run under its flow's, which is found again, and without which it works all the same."""

import time
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from prefect import flow

from flows.parameters.pipeline import PipelineParameters
from optishear.models.precision import given_precision
from tasks.engine.stage import Stage
from tasks.store.artifacts import Artifact
from tasks.tracking.flow_runs import FAILURE_TAG, KEY_TAG, tracked_run
from tasks.tracking.stage_runs import RunReference, joined, running_reference

PRECISION = given_precision("float32")


pytestmark = pytest.mark.usefixtures("prefect_server")


class Words:
    """A stage of a flow that is tracked."""

    def __init__(self, parameters: PipelineParameters) -> None:
        self.parameters = parameters
        self.seconds = 0.0
        self.error: Exception | None = None
        self.stage = Stage(
            "words", 1, ("sequences",), self._inputs, self._write, label="some words", scores=lambda _: {"count": 3.0}
        )

    def _inputs(self, parameters: PipelineParameters) -> dict[str, str]:
        return {"text": parameters.calibration}

    def _write(self, outputs: Path, parameters: PipelineParameters) -> None:
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        (outputs / "words.txt").write_text("word")

    def run(self) -> Artifact:
        @flow(name="pipeline")
        def pipeline() -> Artifact:
            with tracked_run("pipeline", self.parameters, PRECISION):
                return self.stage(self.parameters)

        return pipeline()

    @property
    def runs(self) -> list[Run]:
        """The flow's and the stage's."""
        client = MlflowClient(tracking_uri=self.parameters.tracking_uri)
        experiment = client.get_experiment_by_name(self.parameters.experiment)
        return sorted(client.search_runs([experiment.experiment_id]), key=lambda run: run.info.start_time)

    def history(self, metric: str) -> list[tuple[int, float]]:
        client = MlflowClient(tracking_uri=self.parameters.tracking_uri)
        return [(each.step, each.value) for each in client.get_metric_history(self.runs[1].info.run_id, metric)]


@pytest.fixture
def words(tracked_parameters: PipelineParameters) -> Words:
    return Words(tracked_parameters)


def test_a_stage_is_a_child_that_is_found_again(words: Words) -> None:
    made = words.run()
    parent, child = words.runs
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.run_name == "some words"
    assert child.info.status == "FINISHED"
    assert child.data.tags[KEY_TAG] == made.key
    assert child.data.tags["input.text"] == "self"
    assert child.data.tags["cached"] == "false"
    assert child.data.params == {"sequences": "32"}
    assert child.data.metrics == {"seconds": made.seconds, "peak_memory_bytes": made.peak_memory_bytes, "count": 3}

    words.run()
    again = words.runs
    assert [run.info.run_id for run in again] == [parent.info.run_id, child.info.run_id]
    assert again[1].data.tags["cached"] == "true"
    assert words.history("seconds") == [(0, made.seconds)]


def test_a_failed_stage_is_continued(words: Words) -> None:
    words.error = RuntimeError("out of disk")
    with pytest.raises(RuntimeError):
        words.run()
    failed = words.runs[1]
    assert failed.info.status == "FAILED"
    assert failed.data.tags[FAILURE_TAG] == "RuntimeError: out of disk"
    words.error = None
    words.run()
    _, child = words.runs
    assert child.info.run_id == failed.info.run_id
    assert child.info.status == "FINISHED"
    assert FAILURE_TAG not in child.data.tags


def test_another_process_finds_the_run_by_its_key(words: Words) -> None:
    with tracked_run("pipeline", words.parameters, PRECISION):
        reference = running_reference()
    assert running_reference() is None
    assert reference is not None
    deployment_arguments = RunReference.model_validate_json(reference.model_dump_json())

    @flow(name="words-stage")
    def on_a_worker() -> Artifact:
        with joined(deployment_arguments):
            return words.stage.labelled("")(words.parameters)

    made = on_a_worker()
    words.run()
    _, child = words.runs
    assert child.data.tags[KEY_TAG] == made.key
    assert child.data.tags["cached"] == "true"


def test_without_a_flow_that_is_tracked_nothing_is_logged(words: Words) -> None:
    with joined(None):
        assert running_reference() is None
        words.stage.make(words.parameters)
    with tracked_run("pipeline", words.parameters, PRECISION):
        pass
    assert len(words.runs) == 1


@pytest.mark.parametrize("call", ["create_run", "log_batch", "set_terminated", "get_run"])
def test_a_stage_works_while_mlflow_is_away(
    words: Words, call: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with tracked_run("pipeline", words.parameters, PRECISION):
        pass

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, away)
        made = words.run()
    assert made.path("words.txt").read_text() == "word"
    assert "MLflow was not told" in caplog.text
    assert "no route to host" in caplog.text

    words.run()
    parent, child = words.runs
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert words.history("seconds") == [(0, made.seconds)]


def test_the_load_of_the_machine_is_logged_while_a_stage_computes(
    words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    words.seconds = 0.5
    words.run()
    memory = words.history("system/system_memory_usage_megabytes")
    assert memory
    assert all(value > 1 for _, value in memory)
    assert len({step for step, _ in memory}) == len(memory)
    words.run()
    assert words.history("system/system_memory_usage_megabytes") == memory
