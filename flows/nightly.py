"""Run several pipelines from a plan in a YAML file.

If a run fails, the others continue, and the reasons are listed at the end. `optishear deploy` puts the plan on
a schedule.

\b
Example:
  optishear nightly --plan configurations/nightly.yaml
"""

from typing import Any

from prefect import task
from prefect.runtime import flow_run

from flows.parameters.nightly import NightlyParameters
from flows.parameters.pipeline import PipelineParameters
from flows.pipeline import pipeline
from flows.shared.checks import check
from flows.shared.nightly_plan import PlannedRun, read_plan
from flows.shared.titled_flow import titled_flow
from tasks.engine.deployments import UnfinishedRunError, failure, finish_deployment
from tasks.engine.parameter_groups import with_absolute_paths
from tasks.engine.placement import uses_deployments
from tasks.engine.retries import RETRIES, SECONDS_BEFORE_RETRY, retry_condition
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
    if uses_deployments(parameters):
        futures = [deployed_pipeline.submit(_title(run), _values(run)) for run in runs]
        for future in futures:
            future.wait()
        states = [future.state for future in futures]
    else:
        states = [pipeline.with_options(flow_run_name=_title(run))(_in_process(run), return_state=True) for run in runs]
    failed = [
        f"{run.name}: {failure(state)[1].rstrip('.')}"
        for run, state in zip(runs, states, strict=True)
        if not state.is_completed()
    ]
    if failed:
        raise UnfinishedRunError(f"{len(failed)} of {len(runs)} runs failed: {'; '.join(failed)}.")
    return "\n".join(f"{run.name}  {run.parameters.output.absolute()}" for run in runs)


def _key(_context: Any, arguments: dict[str, Any]) -> str:
    """A pipeline that completed in this night is not run again by a retry; the next night is another flow run."""
    return f"{flow_run.id}-{digest(arguments['parameters'])[:32]}"


@task(
    name="pipeline",
    task_run_name="{name}",
    cache_key_fn=_key,
    persist_result=True,
    result_serializer="json",
    retries=RETRIES,
    retry_delay_seconds=SECONDS_BEFORE_RETRY,
    retry_condition_fn=retry_condition,
)
def deployed_pipeline(name: str, parameters: dict[str, Any]) -> str:
    """One pipeline as a run of its deployment, which can be retried by itself."""
    finish_deployment("pipeline/pipeline", {"parameters": parameters}, name, digest(parameters)[:32])
    return name


def _title(run: PlannedRun) -> str:
    """The night's name and what the run is about: ``nightly · 2026-11-26 · SmolLM2-135M · 50 %``."""
    return title(str(flow_run.name), *subject_of(run.parameters))


def _values(run: PlannedRun) -> dict[str, Any]:
    return with_absolute_paths(run.parameters).model_dump(mode="json")


def _in_process(run: PlannedRun) -> PipelineParameters:
    return run.parameters.model_copy(update={"placement": "in_process"})
