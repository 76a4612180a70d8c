"""A stage's process asks for the next stage of its own pipeline, and for no other run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import Abort
from prefect.states import Completed, Running, Scheduled, State

from tasks.engine import stage_process as module
from tasks.engine.handover import HANDOVER, WAIT
from wording import refused


@dataclass
class Server:
    """Prefect's server as far as a stage's process asks it; its pool has ``free`` places."""

    parents: dict[UUID, UUID] = field(default_factory=dict)
    scheduled: list[FlowRun] = field(default_factory=list)
    states: dict[UUID, State] = field(default_factory=dict)
    places: dict[UUID, str | None] = field(default_factory=dict)
    taken: set[UUID] = field(default_factory=set)
    proposed: list[State] = field(default_factory=list)
    free: int = 1

    def run(
        self, parent: UUID, *, is_scheduled: bool = True, name: str | None = None, after: timedelta = timedelta()
    ) -> FlowRun:
        """A run that another one started, due after a time."""
        task = uuid4()
        self.parents[task] = parent
        self.states.setdefault(parent, Running())
        start = datetime.now(UTC) + after
        run = FlowRun(
            flow_id=uuid4(),
            parent_task_run_id=task,
            work_pool_name="gpu",
            infrastructure_pid="7",
            state=Scheduled(scheduled_time=start, name=name),
            next_scheduled_start_time=start,
        )
        self.places[run.id] = "7"
        if is_scheduled:
            self.scheduled.append(run)
        return run

    def read_task_run(self, task: UUID) -> Any:
        return SimpleNamespace(flow_run_id=self.parents[task])

    def read_flow_run(self, run: UUID) -> Any:
        return SimpleNamespace(state=self.states.get(run), infrastructure_pid=self.places.get(run))

    def get_scheduled_flow_runs_for_work_pool(self, pool: str, scheduled_before: datetime) -> list[Any]:
        assert pool == "gpu"
        assert scheduled_before > datetime.now(UTC)
        return [SimpleNamespace(flow_run=run) for run in self.scheduled[: self.free]]

    def read_flow_runs(self, flow_run_filter: Any, work_pool_filter: Any, sort: Any) -> list[FlowRun]:
        assert work_pool_filter.name.any_ == ["gpu"]
        assert sort == FlowRunSort.EXPECTED_START_TIME_ASC
        assert flow_run_filter.state.type.any_ == [StateType.SCHEDULED]
        (parent,) = flow_run_filter.parent_flow_run_id.any_
        before = flow_run_filter.next_scheduled_start_time.before_
        own = [run for run in self.scheduled if self.parents[run.parent_task_run_id] == parent]
        return [run for run in own if run.next_scheduled_start_time <= before]

    def update_flow_run(self, run: UUID, infrastructure_pid: str | None) -> None:
        self.places[run] = infrastructure_pid


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    @contextmanager
    def client(sync_client: bool) -> Iterator[Server]:
        assert sync_client
        yield server

    def propose(_: Any, state: State, flow_run_id: UUID) -> State:
        if flow_run_id in server.taken:
            raise Abort("a worker has it")
        server.proposed.append(state)
        return state

    monkeypatch.setattr(module, "get_client", client)
    monkeypatch.setattr(module, "propose_state_sync", propose)
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_POLLS", 0.01)
    return server


def test_the_next_stage_of_the_same_run_is_claimed(server: Server) -> None:
    parent = uuid4()
    done = server.run(parent, is_scheduled=False)
    server.places[done.id] = "42"
    server.run(uuid4())  # of another pipeline, and all that a pool with one place lists
    following = server.run(parent)
    assert module.next_stage(done, 1.0) == following.id
    assert server.places[following.id] == "42"


def test_a_stage_is_claimed_before_its_time(server: Server) -> None:
    parent = uuid4()
    done = server.run(parent, is_scheduled=False)
    following = server.run(parent, after=HANDOVER - timedelta(seconds=1))
    assert module.next_stage(done, 1.0) == following.id
    (pending,) = server.proposed
    assert pending.state_details.scheduled_time <= datetime.now(UTC)  # so that the run begins now


def test_a_stage_that_is_repeated_after_a_delay_is_left_until_then(server: Server) -> None:
    parent = uuid4()
    done = server.run(parent, is_scheduled=False)
    server.run(parent, name="AwaitingRetry", after=HANDOVER - timedelta(seconds=1))
    assert module.next_stage(done, 0.05) is None
    due = server.run(parent, name="AwaitingRetry")
    assert module.next_stage(done, 1.0) == due.id


def test_nothing_is_claimed_from_a_pool_without_a_free_place(server: Server) -> None:
    parent = uuid4()
    done = server.run(parent, is_scheduled=False)
    server.run(parent)
    server.free = 0
    assert module.next_stage(done, 0.05) is None


def test_what_a_worker_has_taken_is_left_to_it(server: Server) -> None:
    parent = uuid4()
    done = server.run(parent, is_scheduled=False)
    server.taken.add(server.run(parent).id)
    assert module.next_stage(done, 0.05) is None


def test_nothing_is_awaited_after_the_end_of_the_pipeline(server: Server) -> None:
    parent = uuid4()
    done = server.run(parent, is_scheduled=False)
    server.run(parent)
    server.states[parent] = Completed()
    assert module.next_stage(done, 60.0) is None


def test_without_a_wait_nothing_is_claimed(server: Server) -> None:
    parent = uuid4()
    done = server.run(parent, is_scheduled=False)
    server.run(parent)
    assert module.next_stage(done, 0.0) is None


def test_a_wait_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAIT, "soon")
    with refused(WAIT, "soon", 20):
        module.main()
