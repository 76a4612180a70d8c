"""Stage 6: hand a finished run's numbers and files to MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.evaluate import flat_scores
from tasks.tracked import TrackedRun


@task(name="register", retries=3, retry_delay_seconds=5, cache_policy=NO_CACHE, persist_result=False)
def register(
    run: TrackedRun, metrics: Mapping[str, Any], tags: Mapping[str, str], files: Mapping[str, list[Path]]
) -> None:
    """Log params, metrics, tags and files. It may be repeated: nothing is logged twice.

    Args:
        run: the MLflow run.
        metrics: the content of ``metrics.json``.
        tags: by name.
        files: for each folder of the run's artifacts ("" is the top), what to put there.
    """
    run.log_parameters(metrics["parameters"])
    run.log_metrics(flat_metrics(metrics))
    run.log_tags(tags)
    for folder, paths in files.items():
        for path in paths:
            run.log_file(path, folder)


def flat_metrics(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of ``metrics.json`` under names such as ``pruned/perplexity`` and ``seconds/search``."""
    flat: dict[str, float | None] = {"achieved_sparsity": metrics.get("achieved_sparsity")}
    for model in ("dense", "wanda", "pruned", "evaluation"):
        scores = flat_scores(metrics.get(model) or {})
        flat |= {f"{model}/{name}": value for name, value in scores.items()}
    for stage, cost in (metrics.get("stages") or {}).items():
        flat[f"seconds/{stage}"] = cost["seconds"]
        flat[f"peak_memory_bytes/{stage}"] = cost["peak_memory_bytes"]
    search = metrics.get("search") or {}
    for owner in ("objectives", "wanda_objectives"):
        for name, value in (search.get(owner) or {}).items():
            flat[f"search/{owner}/{name}"] = value
    return {name: value for name, value in flat.items() if isinstance(value, int | float)}
