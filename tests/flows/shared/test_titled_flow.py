"""How a run appears in Prefect: its name, its tags, and why it failed."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.logging.loggers import flow_run_logger

from flows.parameters.pipeline import PipelineParameters
from flows.shared.titled_flow import stage_flow, titled_flow
from optishear.errors import InputError
from tasks.engine.deployments import failure
from wording import refused

pytestmark = pytest.mark.usefixtures("prefect_server")
PARAMETERS = PipelineParameters(model="org/SmolLM2-135M", sparsity="2:4", trials=1)
SENTENCE = "The text 'notes.txt' is too short; give a longer one."


@titled_flow("pipeline")
def refusing(parameters: PipelineParameters) -> str:
    raise InputError(SENTENCE)


@titled_flow("pipeline")
def faulty(parameters: PipelineParameters) -> str:
    raise KeyError("model")


@titled_flow("pipeline")
def unanswered(parameters: PipelineParameters) -> str:
    raise RuntimeError("HTTPConnectionPool(host='mlflow.example', port=5000)") from ConnectionRefusedError(
        111, "Refused"
    )


@titled_flow("pipeline")
def losing_its_home(parameters: PipelineParameters) -> str:
    shutil.rmtree(os.environ["OPTISHEAR_HOME"])
    raise RuntimeError("500 Internal Server Error")


@titled_flow("pipeline")
def missing_a_file_of_its_home(parameters: PipelineParameters) -> str:
    home = Path(os.environ["OPTISHEAR_HOME"])
    home.rename(home.with_name(f"away-{parameters.trials}"))
    home.mkdir()  # as a lock does
    error: Exception = FileNotFoundError("trials.parquet")
    raise InputError("The calibration set cannot be read.") if parameters.trials == 1 else error


@stage_flow("evaluate")
def stage(parameters: PipelineParameters) -> str:
    return "done"


@stage_flow("search")
def unanswered_stage(parameters: PipelineParameters) -> str:
    raise ConnectionRefusedError(111, "Refused")


@titled_flow("pipeline")
def parent(parameters: PipelineParameters) -> str:
    return stage.with_options(flow_run_name="evaluate · dense")(parameters)


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def run_of(client: SyncPrefectClient, state: State[object]) -> FlowRun:
    run = state.state_details.flow_run_id
    assert isinstance(run, UUID)
    return client.read_flow_run(run)


def test_the_sentence_of_bad_input_is_the_state_and_no_traceback_is_logged(
    client: SyncPrefectClient, caplog: pytest.LogCaptureFixture
) -> None:
    state = refusing(PARAMETERS, return_state=True)
    run = run_of(client, state)
    assert run.state is not None
    assert (run.state.name, run.state.message) == ("Failed", SENTENCE)
    assert failure(run.state) == ("InputError", SENTENCE)
    # What the process of a deployment's run logs in addition.
    try:
        refusing(PARAMETERS)
    except InputError:
        flow_run_logger(run).error("Engine execution exited with unexpected exception", exc_info=True)
    assert SENTENCE in caplog.text
    assert "Traceback" not in caplog.text


def test_a_fault_keeps_its_traceback(client: SyncPrefectClient, caplog: pytest.LogCaptureFixture) -> None:
    run = run_of(client, faulty(PARAMETERS, return_state=True))
    assert failure(run.state)[0] == "KeyError"
    assert "Traceback" in caplog.text


def test_the_wording_where_a_server_does_not_answer(
    client: SyncPrefectClient, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of(client, unanswered(PARAMETERS, return_state=True))
    assert run.state is not None
    assert str(run.state.message).startswith("The server mlflow.example:5000 did not answer (Refused). ")
    assert "Traceback" not in caplog.text


def test_a_stage_whose_server_does_not_answer_had_no_bad_input(client: SyncPrefectClient) -> None:
    run = run_of(client, unanswered_stage(PARAMETERS, return_state=True))
    assert failure(run.state)[0] == "ConnectionRefusedError"


def test_the_caller_gets_the_error() -> None:
    with pytest.raises(InputError) as caught:
        refusing(PARAMETERS)
    assert str(caught.value) == SENTENCE


def test_the_names_and_tags_of_a_flow_and_of_the_stage_it_starts(client: SyncPrefectClient) -> None:
    run = run_of(client, parent(PARAMETERS, return_state=True))
    kind, date, *subject = run.name.split(" · ")
    assert (kind, subject) == ("pipeline", ["SmolLM2-135M", "2:4"])
    assert run.expected_start_time is not None
    assert date == f"{run.expected_start_time:%Y-%m-%d}"
    assert set(run.tags) == {"SmolLM2-135M", "2:4"}
    (child,) = [each for each in client.read_flow_runs() if each.name == "evaluate · dense"]
    assert set(child.tags) == {"SmolLM2-135M", "2:4"}


def test_a_stage_on_a_worker_refuses_a_home_that_everyone_can_write_to(client: SyncPrefectClient, home: Path) -> None:
    home.mkdir(exist_ok=True)
    home.chmod(0o777)
    run = run_of(client, stage(PARAMETERS, return_state=True))
    kind, sentence = failure(run.state)
    assert kind == "InputError"
    assert str(home) in sentence


def test_a_server_that_fails_with_the_disk_below_it_is_told_by_the_disk(home: Path) -> None:
    with refused(home):
        losing_its_home(PARAMETERS)


def test_a_home_that_is_gone_is_named_where_a_file_of_it_is_missed(home: Path) -> None:
    home.mkdir(exist_ok=True)
    for trials in (1, 2):
        with refused(home):
            missing_a_file_of_its_home(PARAMETERS.model_copy(update={"trials": trials}))
