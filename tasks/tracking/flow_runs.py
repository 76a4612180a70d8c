"""Begin and end MLflow runs, and continue the run of a repeated command."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from optishear.disk import disk_reason
from optishear.errors import first_line
from optishear.models.precision import Precision
from tasks.store.home_lock import home_lock
from tasks.store.processes import own_process
from tasks.tracking.experiment import Tracking, connect, public_uri, run_key, run_name, run_tags
from tasks.tracking.mlflow_run import TrackedRun
from tasks.tracking.parameters import TrackedParameters
from tasks.tracking.prefect_link import PREFECT_TAG, prefect_tags

KEY_TAG = "optishear.key"
FAILURE_TAG = "optishear.failure"
# The token of the process that computes a run, unless that is a worker.
PROCESS_TAG = "optishear.process"
logger = logging.getLogger("optishear.stages")
_running: ContextVar[TrackedRun | None] = ContextVar("running", default=None)


@contextmanager
def tracked_run(kind: str, parameters: TrackedParameters, precision: Precision) -> Iterator[TrackedRun]:
    """The run of these parameters: continued if there is one, else new. It ends as finished, or as failed with a
    reason.

    Args:
        kind: the flow's name.
        parameters: of the flow.
        precision: the working precision of its models.

    Raises:
        InputError: if the tracking server or database cannot be used.
    """
    tracking = connect(parameters)
    settled = parameters.model_copy(update={"dtype": precision.dtype})
    run = find_or_begin(tracking, run_name(kind, parameters), run_key(kind, settled))
    with unless_unreachable("what the run is about"):
        run.log_parameters({"working_dtype": precision.dtype})
        run.log_tags({"precision": str(precision), **run_tags(parameters), **prefect_tags()})
    try:
        with running(run):
            yield run
    except BaseException as error:
        with unless_unreachable("the failure of the run"):
            fail(run, error)
        raise
    with unless_unreachable("the end of the run"):
        finish(run)


def find_or_begin(tracking: Tracking, name: str, key: str, parent: str = "") -> TrackedRun:
    """The run of a key, set to running; a new one if there is none. Two processes with one key have one run.

    Args:
        tracking: where.
        name: of a new run.
        key: the key of the run.
        parent: the run that it belongs to; empty for a run of its own.
    """
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    tags = {KEY_TAG: key, **({MLFLOW_PARENT_RUN_ID: parent} if parent else {})}
    same = " AND ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
    own = own_process()
    if own is not None:
        own.add_experiment(public_uri(tracking.uri), tracking.experiment_id)
    owner = {PROCESS_TAG: own.record.token} if own is not None else {}
    client, experiment = tracking.client, tracking.experiment_id
    with home_lock("mlflow"):
        runs = client.search_runs([experiment], filter_string=same, max_results=1)
        if runs:
            run_id = runs[0].info.run_id
            # First, so that the run is not taken for one of the process that computed it before.
            if owner:
                client.set_tag(run_id, PROCESS_TAG, owner[PROCESS_TAG])
            elif PROCESS_TAG in runs[0].data.tags:
                client.delete_tag(run_id, PROCESS_TAG)
            client.update_run(run_id, status="RUNNING")
        else:
            run_id = client.create_run(experiment, run_name=name, tags={**tags, **owner}).info.run_id
    return TrackedRun(tracking, run_id)


def find_by_prefect_run(tracking: Tracking, flow_run: str) -> TrackedRun | None:
    """The run of a flow that a flow run of Prefect was the last one to compute; ``None`` if there is none."""
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    same = f"tags.{PREFECT_TAG} LIKE '%{flow_run}'"
    runs = tracking.client.search_runs([tracking.experiment_id], filter_string=same, order_by=["start_time ASC"])
    flows = [run.info.run_id for run in runs if MLFLOW_PARENT_RUN_ID not in run.data.tags]
    return TrackedRun(tracking, flows[0]) if flows else None


def fail(run: TrackedRun, error: BaseException) -> None:
    """End the run with a reason: as killed where it was asked to end, else as failed."""
    run.client.set_terminated(run.run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
    run.log_tags({FAILURE_TAG: f"{type(error).__name__}: {error}"[:5000]})


def finish(run: TrackedRun) -> None:
    """End the run as finished, and remove the reason of an earlier failure."""
    if FAILURE_TAG in run.read().data.tags:
        run.client.delete_tag(run.run_id, FAILURE_TAG)
    run.client.set_terminated(run.run_id, "FINISHED")


@contextmanager
def unless_unreachable(what: str) -> Iterator[None]:
    """Continue without MLflow while it cannot be reached: this must not end a long run."""
    try:
        yield
    except Exception as error:  # SQLAlchemy's, requests' and MLflow's own errors share no base class
        logger.warning("MLflow was not told %s: %s", what, disk_reason(error) or first_line(error))


@contextmanager
def running(run: TrackedRun | None) -> Iterator[None]:
    """Let the body's stages be children of the run."""
    token = _running.set(run)
    try:
        yield
    finally:
        _running.reset(token)


def running_run() -> TrackedRun | None:
    """The current run; ``None`` if nothing is tracked."""
    return _running.get()
