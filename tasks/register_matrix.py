"""Hand a finished matrix to MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.tracked import TrackedRun


@task(name="register matrix", retries=3, retry_delay_seconds=5, cache_policy=NO_CACHE, persist_result=False)
def register_matrix(
    run: TrackedRun,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    note: str,
    files: Mapping[str, list[Path]],
) -> None:
    """Log params, one metric for each value of the matrix, a note and files. It may be repeated.

    Args:
        run: the MLflow run.
        parameters: of the flow.
        metrics: value by name.
        note: what the run's page says, in Markdown.
        files: for each folder of the run's artifacts ("" is the top), what to put there.
    """
    run.log_parameters(parameters)
    run.log_metrics(metrics)
    run.log_tags({"mlflow.note.content": note})
    for folder, paths in files.items():
        for path in paths:
            run.log_file(path, folder)
