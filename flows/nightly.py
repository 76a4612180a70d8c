"""Run several pipelines from a plan in a YAML file.

If a run fails, the others continue, and the reasons are listed at the end. `optishear deploy` puts the plan on
a schedule.

\b
Example:
  optishear nightly --plan configurations/nightly.yaml
"""

from typing import Any
from uuid import UUID

from prefect import State, task
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run

from flows.parameters.nightly import NightlyParameters
from flows.parameters.pipeline import PipelineParameters
from flows.pipeline import pipeline
from flows.shared.checks import check
from flows.shared.night_history import new_night
from flows.shared.night_page import publish_night
from flows.shared.night_rows import EndedRun, children_of, failures_of, night_rows
from flows.shared.nightly_plan import PlannedRun, read_plan
from flows.shared.titled_flow import titled_flow
from optishear.report.night import night_sentence
from tasks.engine.deployments import UnfinishedRunError, failure, finish_deployment
from tasks.engine.parameter_groups import with_absolute_paths
from tasks.engine.placement import uses_deployments
from tasks.engine.retries import RETRIES, SECONDS_BEFORE_RETRY, retry_condition
from tasks.engine.stored_results import SERIALIZER
from tasks.engine.titles import subject_of, title
from tasks.store.keys import digest


@titled_flow("nightly")
def nightly(parameters: NightlyParameters) -> str:
    """Run all pipelines of the plan; returns the results, or fails with the reasons of the failed runs.

    With a work pool each is a run of the pipeline's deployment, as many at a time as there are workers; else they run
    one after the other in this process. A retry repeats the failed runs.

    Raises:
        UnfinishedRunError: when all have ended, if some did not complete.
    """
    check(parameters)
    runs = read_plan(parameters.plan)
    night = new_night(str(flow_run.id))
    if uses_deployments(parameters):
        futures = [deployed_pipeline.submit(_title(run), _values(run)) for run in runs]
        for future in futures:
            future.wait()
        states = [future.state for future in futures]
        children = children_of(night.flow_run)
        ended = [_child(run, children) for run in runs]
    else:
        states = [pipeline.with_options(flow_run_name=_title(run))(_in_process(run), return_state=True) for run in runs]
        children = children_of(night.flow_run)
        ended = [_with_id(state.state_details.flow_run_id, children) for state in states]
    ended_runs = [
        EndedRun(run, _failure(state, child), child) for run, state, child in zip(runs, states, ended, strict=True)
    ]
    rows = night_rows(ended_runs, night)
    page = publish_night(night, rows, runs[0].parameters)
    if failed := failures_of(rows):
        raise UnfinishedRunError(f"{len(failed)} of {len(rows)} runs failed: {'; '.join(failed)}.")
    places = [f"{run.name}  {run.parameters.output.absolute()}" for run in runs]
    return "\n".join([night_sentence(rows), *places, f"page  {page}"])


def _key(_context: Any, arguments: dict[str, Any]) -> str:
    """A pipeline that completed in this night is not run again by a retry; the next night is another flow run."""
    return f"{flow_run.id}-{digest(arguments['parameters'])[:32]}"


@task(
    name="pipeline",
    task_run_name="{name}",
    cache_key_fn=_key,
    persist_result=True,
    result_serializer=SERIALIZER,
    retries=RETRIES,
    retry_delay_seconds=SECONDS_BEFORE_RETRY,
    retry_condition_fn=retry_condition,
)
def deployed_pipeline(name: str, parameters: dict[str, Any]) -> str:
    """One pipeline as a run of its deployment, which can be retried by itself."""
    finish_deployment("pipeline/pipeline", {"parameters": parameters}, name, digest(parameters)[:32])
    return name


def _child(run: PlannedRun, children: list[FlowRun]) -> FlowRun | None:
    """The last run of a planned pipeline's deployment, which its key identifies."""
    key = digest(_values(run))[:32]
    return next((child for child in children if key in (child.idempotency_key or "").split(":")), None)


def _with_id(run: UUID | None, children: list[FlowRun]) -> FlowRun | None:
    return next((child for child in children if child.id == run), None)


def _failure(state: State[Any], child: FlowRun | None) -> str:
    """The sentence of a failure, of the pipeline itself where it ran; empty if it completed."""
    if state.is_completed():
        return ""
    itself = child.state if child is not None else None
    return failure(itself if itself is not None and itself.is_final() and not itself.is_completed() else state)[1]


def _title(run: PlannedRun) -> str:
    """The night's name and what the run is about: ``nightly · 2026-11-26 · SmolLM2-135M · 50 %``."""
    return title(str(flow_run.name), *subject_of(run.parameters))


def _values(run: PlannedRun) -> dict[str, Any]:
    return with_absolute_paths(run.parameters).model_dump(mode="json")


def _in_process(run: PlannedRun) -> PipelineParameters:
    return run.parameters.model_copy(update={"placement": "in_process"})
