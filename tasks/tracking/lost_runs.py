"""Runs in Prefect and MLflow whose process was killed: nobody else would ever say that they have ended."""

import logging

from mlflow.entities import RunStatus
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
    TaskRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, PREFECT_HOME
from prefect.states import Crashed

from optishear.errors import first_line
from tasks.store.processes import ProcessRecord, TrackedPlace, ended_process, other_records
from tasks.tracking.experiment import Tracking, public_uri, tracking_uri
from tasks.tracking.flow_runs import FAILURE_TAG, PROCESS_TAG

MESSAGE = "Its process has ended."
_UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED, StateType.PAUSED, StateType.CANCELLING]
_AT_ONCE = 100
logger = logging.getLogger("optishear.stages")


def prefect_server() -> str:
    """What tells the server of this process's runs from another one: its address, or the embedded one's folder."""
    return public_uri(str(PREFECT_API_URL.value() or PREFECT_HOME.value()))


def mark_lost_runs(uri: str | None) -> None:
    """Let the unfinished runs of processes that have ended be crashed in Prefect, and killed in MLflow.

    Those on other servers than the present ones wait for a process that uses these. While a server cannot be reached,
    the runs wait for the next process.

    Args:
        uri: the parameter ``tracking_uri``.
    """
    for path in other_records():
        with ended_process(path) as record:
            if record is None:
                continue
            try:
                done = _mark(record, tracking_uri(uri))
            except Exception as error:  # those of httpx, SQLAlchemy and MLflow share no base class
                logger.warning(
                    "The runs of optishear %s, process %d, which has ended, cannot be marked as ended now: %s",
                    record.command,
                    record.pid,
                    first_line(error),
                )
                continue
            if done:
                path.unlink(missing_ok=True)


def _mark(record: ProcessRecord, uri: str) -> bool:
    """Mark the runs of a process that are on the present servers; whether that is all of them."""
    in_prefect = record.server == prefect_server()
    places = [place for place in record.experiments if place.uri == public_uri(uri)]
    names: list[str] = []
    if in_prefect:
        with get_client(sync_client=True) as client:
            names = crash_unfinished(client, record.tag, MESSAGE)
    killed = sum(_kill(place, uri, record.token) for place in places)
    if names or killed:
        logger.info(
            "optishear %s, process %d, has ended in the middle; marked as ended: %s",
            record.command,
            record.pid,
            ", ".join([*names, *([f"{killed} runs in MLflow"] if killed else [])]),
        )
    return in_prefect and len(places) == len(record.experiments)


def crash_unfinished(client: SyncPrefectClient, tag: str, message: str) -> list[str]:
    """Let all unfinished runs with a tag be crashed; those of deployments are a worker's.

    Returns:
        The names of the flow runs.
    """
    names = []
    of_flows = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[tag]), state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))
    )
    of_tasks = TaskRunFilter(
        tags=TaskRunFilterTags(all_=[tag]), state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED))
    )
    # What is marked is no longer found, but a run that the server does not change would be for ever.
    marked = set()
    while True:
        tasks = [run for run in client.read_task_runs(task_run_filter=of_tasks, limit=_AT_ONCE) if run.id not in marked]
        for task in tasks:
            client.set_task_run_state(task.id, Crashed(message=message), force=True)
            marked.add(task.id)
        flows = [run for run in client.read_flow_runs(flow_run_filter=of_flows, limit=_AT_ONCE) if run.id not in marked]
        for flow in flows:
            marked.add(flow.id)
            if flow.deployment_id is None:
                client.set_flow_run_state(flow.id, Crashed(message=message), force=True)
                names.append(flow.name)
        if not tasks and not flows:
            return names


def _kill(place: TrackedPlace, uri: str, token: str) -> int:
    """Let the running runs of a process in an experiment be killed; returns their number."""
    client = Tracking(uri, place.experiment_id).client
    mine = f"tags.`{PROCESS_TAG}` = '{token}' AND attributes.status = 'RUNNING'"
    runs = client.search_runs([place.experiment_id], filter_string=mine)
    for run in runs:
        client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))
        client.set_tag(run.info.run_id, FAILURE_TAG, MESSAGE)
    return len(runs)
