"""The rows of a night's page, from what its runs left in their output folders, in Prefect and in MLflow."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from flows.shared.night_history import Night, last_scores, nights_before
from flows.shared.nightly_plan import PlannedRun
from flows.shared.summary import mlflow_page
from optishear.errors import InputError
from optishear.file_names import METRICS, REPORT
from optishear.report.night import NightRow, NightScores
from optishear.run_metrics.file import read_metrics
from optishear.run_metrics.measures import perplexities
from optishear.run_metrics.schema import RunMetrics
from tasks.engine.titles import subject_of, title
from tasks.tracking.experiment import connect
from tasks.tracking.flow_runs import find_by_prefect_run, unless_unreachable
from tasks.tracking.prefect_link import prefect_page


def children_of(flow_run: str) -> list[FlowRun]:
    """The flow runs that a flow run has started, the last one first.

    A server gives a page of at most 200 at a time by default, so pages are requested until one is empty.
    """
    wanted = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[UUID(flow_run)]))
    runs: list[FlowRun] = []
    with get_client(sync_client=True) as client:
        while page := client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, offset=len(runs)):
            runs += page
    return sorted(runs, key=lambda run: str(run.expected_start_time), reverse=True)


@dataclass(frozen=True)
class EndedRun:
    """A planned run after its end.

    Attributes:
        run: as planned.
        failure: the sentence of its failure; empty if it completed.
        child: its flow run, where it had one.
    """

    run: PlannedRun
    failure: str = ""
    child: FlowRun | None = None


def night_rows(ended: Sequence[EndedRun], night: Night) -> list[NightRow]:
    """One row for each run; their scores are added to the night's record, and the earlier records are read once.

    Args:
        ended: the runs, in the order of the plan.
        night: this night's record.
    """
    before = nights_before(night)
    return [_row(each.run, each.failure, each.child, night, before) for each in ended]


def _row(run: PlannedRun, failure: str, child: FlowRun | None, night: Night, before: Sequence[Night]) -> NightRow:
    output = run.parameters.output
    metrics = None
    if not failure:
        try:
            metrics = read_metrics(output / METRICS, RunMetrics)
        except InputError as error:
            failure = str(error)
    scores = None
    if metrics is not None:
        scores = NightScores(**perplexities(metrics))
        night.scores[str(output.absolute())] = scores
    registered = metrics.registered if metrics is not None else None
    return NightRow(
        name=title(*subject_of(run.parameters)),
        scores=scores,
        before=last_scores(output, before),
        champion=registered is not None and registered.champion,
        reason=registered.reason if registered is not None else "",
        seconds=child.total_run_time.total_seconds() if child is not None else None,
        failure=failure,
        pages=_pages(run, child, completed=metrics is not None),
    )


def _pages(run: PlannedRun, child: FlowRun | None, *, completed: bool) -> dict[str, str]:
    """Where to read on: the runs in Prefect and in MLflow, and the report."""
    pages: dict[str, str] = {}
    prefect = prefect_page(str(child.id)) if child is not None else None
    if prefect is not None:
        pages["Prefect"] = prefect
    tracked = None
    if child is not None:
        with unless_unreachable("which run belongs to a run of the night"):
            tracked = find_by_prefect_run(connect(run.parameters), str(child.id))
    mlflow = mlflow_page(tracked) if tracked is not None else None
    if mlflow is not None:
        pages["MLflow"] = mlflow
    if completed:
        report = mlflow_page(tracked, REPORT) if tracked is not None else None
        pages["report"] = report or str(run.parameters.output.absolute() / REPORT)
    return pages


def failures_of(rows: Sequence[NightRow]) -> list[str]:
    """``NAME: reason`` of each run that failed."""
    return [f"{row.name}: {row.failure.rstrip('.')}" for row in rows if row.failure]
