"""The runs of a process that was killed are marked as ended by the next one; those of others are not."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Running

from flows.parameters.pipeline import PipelineParameters
from tasks.store.processes import other_records, recorded_process
from tasks.tracking import lost_runs
from tasks.tracking.experiment import connect
from tasks.tracking.flow_runs import FAILURE_TAG, PROCESS_TAG, find_or_begin
from tasks.tracking.lost_runs import MESSAGE, crash_unfinished, mark_lost_runs, prefect_server

pytestmark = pytest.mark.usefixtures("prefect_server")

# A flow with a stage, both tracked, which waits in the middle to be killed.
PROGRAM = """
import sys
from pathlib import Path
from prefect import flow, tags
from flows.parameters.pipeline import PipelineParameters
from optishear.models.precision import given_precision
from tasks.engine.stage import Stage
from tasks.store.processes import recorded_process
from tasks.tracking.flow_runs import tracked_run
from tasks.tracking.lost_runs import prefect_server

parameters = PipelineParameters.model_validate_json(sys.argv[1])

def write(outputs, parameters):
    print("computing", flush=True)
    sys.stdin.read()

stage = Stage("words", 1, ("sequences",), lambda _: {}, write)

@flow(name="pipeline", flow_run_name="to be killed")
def pipeline():
    with tracked_run("pipeline", parameters, given_precision("float32")):
        stage(parameters)

with recorded_process("run", prefect_server()) as record, tags(record.tag):
    pipeline()
"""


@pytest.fixture
def killed(tracked_parameters: PipelineParameters) -> Iterator["subprocess.Popen[str]"]:
    """A process in the middle of a stage, to be killed."""
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tracked_parameters.model_dump_json()],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "computing\n"
        yield process
        process.kill()


def states_of(tag: str) -> dict[str, tuple[str, str]]:
    """State and message of each flow run and task run with a tag."""
    with get_client(sync_client=True) as client:
        runs = [*client.read_flow_runs(), *client.read_task_runs()]
        return {
            run.name: (run.state.type.value, run.state.message or "")
            for run in runs
            if run.state is not None and tag in run.tags
        }


def statuses(parameters: PipelineParameters) -> set[str]:
    client = MlflowClient(tracking_uri=parameters.tracking_uri)
    experiment = client.get_experiment_by_name(parameters.experiment)
    return {run.info.status for run in client.search_runs([experiment.experiment_id])}


def test_the_runs_of_a_killed_process_are_marked(
    killed: "subprocess.Popen[str]", tracked_parameters: PipelineParameters
) -> None:
    (path,) = other_records()
    tag = f"process-{path.stem}"
    mark_lost_runs(tracked_parameters.tracking_uri)
    assert {state for state, _ in states_of(tag).values()} == {"RUNNING"}  # it lives
    assert statuses(tracked_parameters) == {"RUNNING"}

    killed.kill()
    killed.wait()
    record = path.read_text()
    path.write_text(json.dumps({**json.loads(record), "host": "elsewhere"}))
    mark_lost_runs(tracked_parameters.tracking_uri)
    assert {state for state, _ in states_of(tag).values()} == {"RUNNING"}

    path.write_text(record)
    mark_lost_runs(tracked_parameters.tracking_uri)
    marked = states_of(tag)
    assert len(marked) == 2
    assert marked["to be killed"] == ("CRASHED", MESSAGE)
    assert set(marked.values()) == {("CRASHED", MESSAGE)}
    assert statuses(tracked_parameters) == {"KILLED"}
    assert not path.exists()


def leave(parameters: PipelineParameters) -> None:
    """Leave a run in MLflow in the middle, as a process that is killed does."""
    with pytest.raises(KeyboardInterrupt), recorded_process("run", prefect_server()):
        find_or_begin(connect(parameters), "run", "key")
        raise KeyboardInterrupt


def test_what_ends_otherwise_keeps_its_state(tracked_parameters: PipelineParameters) -> None:
    leave(tracked_parameters)
    run = find_or_begin(connect(tracked_parameters), "run", "key")  # a worker goes on with it
    assert PROCESS_TAG not in run.read().data.tags
    mark_lost_runs(tracked_parameters.tracking_uri)
    assert statuses(tracked_parameters) == {"RUNNING"}
    leave(tracked_parameters)
    with recorded_process("run", prefect_server()):  # another process does
        find_or_begin(connect(tracked_parameters), "run", "key")
        mark_lost_runs(tracked_parameters.tracking_uri)
        assert statuses(tracked_parameters) == {"RUNNING"}
    assert other_records() == []


def test_runs_on_other_servers_wait_for_a_process_that_uses_them(
    tracked_parameters: PipelineParameters, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tracked_parameters)
    mark_lost_runs(f"sqlite:///{tmp_path / 'other.db'}")
    assert statuses(tracked_parameters) == {"RUNNING"}
    with monkeypatch.context() as patch:
        patch.setattr(lost_runs, "prefect_server", lambda: "elsewhere")
        mark_lost_runs(database)
    assert statuses(tracked_parameters) == {"KILLED"}
    assert len(other_records()) == 1
    mark_lost_runs(database)
    assert other_records() == []


@pytest.mark.parametrize("away", ["search_runs", "set_terminated"])
def test_while_a_server_is_away_the_runs_wait(
    away: str,
    tracked_parameters: PipelineParameters,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    leave(tracked_parameters)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, away, fail)
        mark_lost_runs(tracked_parameters.tracking_uri)
    assert "no route to host" in caplog.text
    assert len(other_records()) == 1
    mark_lost_runs(tracked_parameters.tracking_uri)
    assert statuses(tracked_parameters) == {"KILLED"}
    (run,) = connect(tracked_parameters).client.search_runs([connect(tracked_parameters).experiment_id])
    assert run.data.tags[FAILURE_TAG] == MESSAGE


def test_runs_of_deployments_belong_to_their_worker() -> None:
    with get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("of-a-worker")
        deployment = client.create_deployment(flow, "of-a-worker")
        run = client.create_flow_run_from_deployment(deployment, tags=["shared-tag"], state=Running())
        assert crash_unfinished(client, "shared-tag", MESSAGE) == []
        state = client.read_flow_run(run.id).state
    assert state is not None
    assert state.is_running()
