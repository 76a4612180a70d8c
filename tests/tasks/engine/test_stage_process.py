"""A stage's process asks for the next stage of its own pipeline, and for no other run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import Abort
from prefect.states import Completed, Running, State

from tasks.engine import stage_process as module
from wording import refused


@dataclass
class Server:
    """Prefect's server as far as a stage's process asks it; its pool has ``free`` places."""

    parents: dict[UUID, UUID] = field(default_factory=dict)
    scheduled: list[FlowRun] = field(default_factory=list)
    states: dict[UUID, State] = field(default_factory=dict)
    places: dict[UUID, str | None] = field(default_factory=dict)
    taken: set[UUID] = field(default_factory=set)
    free: int = 1

    def run(self, parent: UUID, *, is_scheduled: bool = True) -> FlowRun:
        """A run that another one started."""
        task = uuid4()
        self.parents[task] = parent
        self.states.setdefault(parent, Running())
        run = FlowRun(flow_id=uuid4(), parent_task_run_id=task, work_pool_name="gpu", infrastructure_pid="7")
        self.places[run.id] = "7"
        if is_scheduled:
            self.scheduled.append(run)
        return run

    def read_task_run(self, task: UUID) -> Any:
        return SimpleNamespace(flow_run_id=self.parents[task])

    def read_flow_run(self, run: UUID) -> Any:
        return SimpleNamespace(state=self.states.get(run), infrastructure_pid=self.places.get(run))

    def get_scheduled_flow_runs_for_work_pool(self, pool: str) -> list[Any]:
        assert pool == "gpu"
        return [SimpleNamespace(flow_run=run) for run in self.scheduled[: self.free]]

    def read_flow_runs(self, flow_run_filter: Any, work_pool_filter: Any, sort: Any) -> list[FlowRun]:
        assert work_pool_filter.name.any_ == ["gpu"]
        assert sort == FlowRunSort.EXPECTED_START_TIME_ASC
        assert flow_run_filter.state.type.any_ == [StateType.SCHEDULED]
        assert flow_run_filter.next_scheduled_start_time.before_ <= datetime.now(UTC)
        (parent,) = flow_run_filter.parent_flow_run_id.any_
        return [run for run in self.scheduled if self.parents[run.parent_task_run_id] == parent]

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
    monkeypatch.setenv(module.WAIT, "soon")
    with refused(module.WAIT, "soon", 20):
        module.main()
