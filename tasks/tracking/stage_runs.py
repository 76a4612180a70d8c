"""Each stage as its own MLflow run, a child of the flow's run, also if another process computes it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from tasks.store.artifacts import Artifact, Request
from tasks.tracking.experiment import Tracking, tracking_uri
from tasks.tracking.flow_runs import fail, find_or_begin, finish, running, running_run, unless_unreachable
from tasks.tracking.mlflow_run import TrackedRun
from tasks.tracking.prefect_link import prefect_tags


class RunReference(BaseModel):
    """A flow's run, for another process that computes one of its stages. It is never part of a cache key.

    Attributes:
        run_id: the run's.
        experiment_id: the run's experiment.
        tracking_uri: the parameter of that name; if ``None``, each process takes it from its environment.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    experiment_id: str
    tracking_uri: str | None = None


def running_reference() -> RunReference | None:
    """The reference for another process that computes a stage of the running flow; ``None`` if nothing is tracked."""
    run = running_run()
    if run is None:
        return None
    tracking = run.tracking
    return RunReference(run_id=run.run_id, experiment_id=tracking.experiment_id, tracking_uri=tracking.given_uri)


@contextmanager
def joined(reference: RunReference | None) -> Iterator[None]:
    """Let the body's stages be children of a run of another process."""
    if reference is None:
        yield
        return
    uri = tracking_uri(reference.tracking_uri)
    with running(TrackedRun(Tracking(uri, reference.experiment_id, reference.tracking_uri), reference.run_id)):
        yield


@dataclass(frozen=True)
class StageRun:
    """The run of a stage under its flow's.

    Attributes:
        parent: the flow's run.
        name: the run's name.
        request: the stage's request; its key identifies the run.
    """

    parent: TrackedRun
    name: str
    request: Request

    @cached_property
    def run(self) -> TrackedRun:
        """The run, existing or new; requested again if MLflow could not be reached."""
        run = find_or_begin(self.parent.tracking, self.name, self.request.key, self.parent.run_id)
        run.log_parameters(self.request.parameters)
        inputs = {f"input.{name}": value for name, value in self.request.inputs.items()}
        run.log_tags({**inputs, **prefect_tags()})
        return run

    def finish(self, artifact: Artifact, scores: Mapping[str, float | None]) -> None:
        """Log the stage's cost and scores, and end the run."""
        with unless_unreachable(f"the end of the stage {self.name!r}"):
            cost = {"seconds": artifact.seconds, "peak_memory_bytes": artifact.peak_memory_bytes}
            self.run.log_metrics({**cost, **scores})
            self.run.log_tags({"cached": str(artifact.cached).lower()})
            finish(self.run)


_stage: ContextVar[StageRun | None] = ContextVar("stage", default=None)


@contextmanager
def stage_run(name: str, request: Request) -> Iterator[StageRun | None]:
    """The run of a stage while the body computes it, failed with the body; ``None`` where its flow is not tracked."""
    parent = running_run()
    if parent is None:
        yield None
        return
    stage = StageRun(parent, name, request)
    with unless_unreachable(f"the begin of the stage {name!r}"):
        stage.run  # noqa: B018  the first look begins it
    token = _stage.set(stage)
    try:
        yield stage
    except BaseException as error:
        with unless_unreachable(f"the failure of the stage {name!r}"):
            fail(stage.run, error)
        raise
    finally:
        _stage.reset(token)


def current_stage_run() -> StageRun | None:
    """The run of the stage that is being computed; ``None`` where it is not tracked."""
    return _stage.get()


@contextmanager
def system_metrics() -> Iterator[None]:
    """Log the machine's load to the stage's run while the body computes.

    The interval in seconds is ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL``, by default 10.
    """
    stage = current_stage_run()
    monitor = None
    if stage is not None:
        with unless_unreachable("system metrics"):
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            uri = stage.parent.tracking.uri
            monitor = SystemMetricsMonitor(stage.run.run_id, resume_logging=True, tracking_uri=uri)
            monitor.start()
    try:
        yield
    finally:
        if monitor is not None:
            monitor.finish()
