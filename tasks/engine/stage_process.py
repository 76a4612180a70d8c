"""The process of a stage on a worker: it computes the stage that it was started for, and then others of the same run.

A worker starts a process for each flow run. Its imports take half a minute of one core, and the model is loaded again.
So after a stage that completed, this process asks the pool for a scheduled stage of the same parent run, claims it as a
worker does, and computes it with the model that it has. It ends after a stage that did not complete, so that what is
started again begins in a fresh process; when the parent has ended; or when nothing has come for a while.

It is the command of the pool's jobs in place of ``prefect.engine``, whose steps it repeats.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging import Logger
from typing import Any, cast
from uuid import UUID

from prefect._internal import control_listener
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateDetails, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.engine import handle_engine_signals
from prefect.exceptions import Abort
from prefect.flow_engine import load_flow, load_flow_run, run_flow
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelled, Pending
from prefect.types import DateTime
from prefect.utilities.engine import propose_state_sync

from tasks.engine.handover import HANDOVER, seconds_to_wait
from tasks.engine.model_cache import keep_between_flows

_RUN = "PREFECT__FLOW_RUN_ID"
_SECONDS_BETWEEN_POLLS = 0.5
_SECONDS_BETWEEN_LOOKS = 5.0


def main() -> None:
    """Compute the stage of ``PREFECT__FLOW_RUN_ID``, and further ones of the same parent run."""
    wait = seconds_to_wait()
    keep_between_flows()
    control_listener.configure_from_env()
    run = compute(UUID(os.environ[_RUN]))
    while (following := next_stage(run, wait)) is not None:
        os.environ[_RUN] = str(following)
        with _cancelled_with_its_state(following):
            run = compute(following)


def compute(flow_run_id: UUID) -> FlowRun:
    """Compute one flow run to its end; a run that does not complete ends this process, as Prefect's engine does."""
    with handle_engine_signals(flow_run_id):
        run = load_flow_run(flow_run_id)
        logger = flow_run_logger(flow_run=run)
        try:
            flow = load_flow(run)
        except Exception:
            logger.error("The flow cannot be loaded.", exc_info=True)
            raise
        run_flow(flow, flow_run=run, error_logger=cast(Logger, logger))  # an adapter, as Prefect's engine gives it
    return run


def next_stage(done: FlowRun, wait: float) -> UUID | None:
    """The next flow run for this process, claimed; ``None`` where the parent has ended or nothing came in time.

    Args:
        done: the flow run that this process computed last.
        wait: seconds to wait for another one.
    """
    pool = done.work_pool_name
    deadline = time.monotonic() + wait
    with get_client(sync_client=True) as client:
        parent = _parent_of(client, done)
        if pool is None or parent is None:
            return None
        while time.monotonic() < deadline:
            state = client.read_flow_run(parent).state
            if state is None or state.is_final():
                return None
            for candidate in _due(client, pool, parent):
                if _claim(client, candidate):
                    place = client.read_flow_run(done.id).infrastructure_pid
                    client.update_flow_run(candidate, infrastructure_pid=place)
                    return candidate
            time.sleep(_SECONDS_BETWEEN_POLLS)
    return None


def _parent_of(client: SyncPrefectClient, run: FlowRun) -> UUID | None:
    """The flow run that started a run of a deployment."""
    if run.parent_task_run_id is None:
        return None
    return client.read_task_run(run.parent_task_run_id).flow_run_id


def _due(client: SyncPrefectClient, pool: str, parent: UUID) -> list[UUID]:
    """The runs that a parent run has waiting in the pool, the oldest first; none where the pool is paused or full."""
    now = DateTime.now(UTC)
    # The server lists as many runs as the pool has places, so those of this parent may be behind others' and missing.
    if not client.get_scheduled_flow_runs_for_work_pool(pool, scheduled_before=now + HANDOVER):
        return []
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=now + HANDOVER),
        ),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
    )
    # A stage that is repeated after a delay is due only then.
    return [run.id for run in runs if not _is_repeated(run) or _starts_by(run, now)]


def _is_repeated(run: FlowRun) -> bool:
    return run.state is not None and run.state.name == "AwaitingRetry"


def _starts_by(run: FlowRun, moment: datetime) -> bool:
    return run.next_scheduled_start_time is None or run.next_scheduled_start_time <= moment


def _claim(client: SyncPrefectClient, run: UUID) -> bool:
    """Whether the server lets this process have the run, and no worker."""
    # With a time of its own, since the server copies that of the scheduled state, for which the run would wait.
    pending: State[Any] = Pending(state_details=StateDetails(scheduled_time=DateTime.now(UTC)))
    try:
        return propose_state_sync(client, pending, flow_run_id=run).is_pending()
    except Abort:
        return False


@contextmanager
def _cancelled_with_its_state(run: UUID) -> Iterator[None]:
    """End a run that is cancelled, and report it, as a worker does for the runs that it has started."""
    ended, cancelled = threading.Event(), threading.Event()

    def watch() -> None:
        with get_client(sync_client=True) as client:
            while not ended.wait(_SECONDS_BETWEEN_LOOKS):
                try:
                    state = client.read_flow_run(run).state
                except Exception:  # a server that is away for a moment is asked again
                    continue
                if state is not None and state.is_cancelling():
                    cancelled.set()
                    control_listener._set_intent("cancel")
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

    watcher = threading.Thread(target=watch, name="cancellation", daemon=True)
    watcher.start()
    try:
        yield
    except SystemExit:
        if cancelled.is_set():
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(run, Cancelled(), force=True)
        raise
    finally:
        ended.set()
        watcher.join()


if __name__ == "__main__":
    main()
