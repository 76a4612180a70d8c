"""Stage 8: hand a finished run's numbers and files, and the pruned model, to MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from mlflow.entities import DatasetInput
from prefect import task
from prefect.cache_policies import NO_CACHE

from optishear.recipes.recipe import Recipe
from tasks.registration.champion import challenger_of
from tasks.registration.model_versions import Registered, register_version, registered_name
from tasks.registration.parameters import RegisterModelParameters
from tasks.stages.diagnose import flat_summary
from tasks.stages.evaluate import flat_scores
from tasks.stages.footprint import flat_footprint
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest
from tasks.store.model_sources import find_model
from tasks.tracking.mlflow_run import TrackedRun


@dataclass(frozen=True)
class Attachments:
    """What belongs to a run's numbers.

    Attributes:
        tags: by name.
        inputs: the data sets that were read.
        tables: by the file's name.
        files: for each folder of the run's artifacts ("" is the top), what to put there.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[DatasetInput] = ()
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)


# A server that is started again takes a minute.
_IN_MLFLOW: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [5, 30, 120],
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="register", **_IN_MLFLOW)
def register(
    run: TrackedRun,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float | None],
    attachments: Attachments,
) -> None:
    """Log params, metrics, and what belongs to them. It may be repeated: nothing is logged twice.

    Args:
        run: the MLflow run.
        parameters: of the flow.
        metrics: value by name, as ``flat_metrics`` names those of ``metrics.json``.
        attachments: what belongs to them.
    """
    run.log_parameters(parameters)
    run.log_metrics(metrics)
    run.log_tags(attachments.tags)
    run.log_inputs(attachments.inputs)
    for name, table in attachments.tables.items():
        run.log_table(table, name)
    for folder, paths in attachments.files.items():
        for path in paths:
            run.log_file(path, folder)


@task(name="register model", **_IN_MLFLOW)
def register_model(
    run: TrackedRun,
    parameters: RegisterModelParameters,
    recipe: Recipe,
    checkpoint: Artifact,
    evaluations: Mapping[str, Artifact],
    metrics: Mapping[str, Any],
    description: str,
) -> Registered:
    """Register the checkpoint as a version, and decide whether it is the champion. It may be repeated.

    Args:
        run: the MLflow run.
        parameters: of the flow.
        recipe: what the model was pruned by.
        checkpoint: the pruned one.
        evaluations: the evaluations of ``dense``, ``wanda`` and ``pruned``.
        metrics: the content of ``metrics.json``.
        description: Markdown for the version's page.
    """
    source = find_model(parameters.model)
    name = registered_name(parameters.registered_model, source.public_name, recipe.sparsity)
    dense = evaluations["dense"]
    windows = metrics["dense"]["settings"]
    evaluated_on = [dense.inputs["model"], dense.inputs["text"], windows["window_length"], windows["windows"]]
    bos = [windows["bos"]] if windows["bos"] else []  # champions without one stay comparable
    settings = digest([*evaluated_on, *bos, dense.parameters["dtype"]])
    tags = {
        "base_model": source.public_name,
        "base_model_digest": source.fingerprint,
        "pattern": "N:M" if recipe.sparsity.is_structured else "unstructured",
        "sparsity": str(recipe.sparsity),
        "achieved_sparsity": repr(metrics["achieved_sparsity"]),
        "sparsity_of_all_matrices": repr(metrics["sparsity_of_all_matrices"]),
        "prunable_share": repr(metrics["coverage"]["prunable_share"]),
        "recipe_hash": checkpoint.inputs["recipe"],
    }
    return register_version(run, name, checkpoint, challenger_of(metrics, settings), parameters, tags, description)


def flat_metrics(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of ``metrics.json`` under names such as ``pruned/perplexity`` and ``seconds/search``."""
    flat: dict[str, float | None] = {
        "achieved_sparsity": metrics.get("achieved_sparsity"),
        "sparsity_of_all_matrices": metrics.get("sparsity_of_all_matrices"),
        "prunable_share": (metrics.get("coverage") or {}).get("prunable_share"),
    }
    for model in ("dense", "wanda", "masked", "pruned", "evaluation"):
        scores = flat_scores(metrics.get(model) or {})
        scores |= flat_footprint((metrics.get(model) or {}).get("footprint") or {})
        flat |= {f"{model}/{name}": value for name, value in scores.items()}
    for stage, cost in (metrics.get("stages") or {}).items():
        flat[f"seconds/{stage}"] = cost["seconds"]
        flat[f"peak_memory_bytes/{stage}"] = cost["peak_memory_bytes"]
    flat |= {f"diagnosis/{name}": value for name, value in flat_summary(metrics.get("diagnosis") or {}).items()}
    for sparsity, swept in (metrics.get("sparsities") or {}).items():
        flat |= {f"{sparsity}/{name}": value for name, value in flat_metrics(swept).items()}
    search = metrics.get("search") or {}
    for owner in ("objectives", "wanda_objectives"):
        for name, value in (search.get(owner) or {}).items():
            flat[f"search/{owner}/{name}"] = value
    return {name: value for name, value in flat.items() if isinstance(value, int | float)}
