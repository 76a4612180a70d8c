"""Stage 8: hand a finished run's numbers and files, and the pruned model, to MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from mlflow.entities import DatasetInput
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from prefect import task
from prefect.cache_policies import NO_CACHE

from optishear.file_names import CHECKPOINT
from optishear.recipes.recipe import Recipe
from optishear.run_metrics.schema import RunMetrics
from tasks.engine.retries import retry_unless_disk
from tasks.registration.champion import challenger_of
from tasks.registration.model_versions import Registered, register_version, registered_name
from tasks.registration.parameters import RegisterModelParameters
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest
from tasks.store.model_sources import find_model
from tasks.tracking.mlflow_run import TrackedRun
from tasks.tracking.prefect_link import PREFECT_TAG, prefect_tags


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


# A server that is started again takes a minute, its machine more.
_IN_MLFLOW: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": [5, 30, 120, 300],
    "retry_condition_fn": retry_unless_disk,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="register", **_IN_MLFLOW)
def register(
    run: TrackedRun,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    attachments: Attachments,
) -> None:
    """Log params, metrics, and what belongs to them. It may be repeated: nothing is logged twice.

    Args:
        run: the MLflow run.
        parameters: of the flow.
        metrics: value by name, as ``flat_metrics`` names them.
        attachments: what belongs to them.
    """
    run.log_parameters(parameters)
    run.log_metrics(metrics)
    run.log_tags(attachments.tags)
    if MLFLOW_RUN_NOTE in attachments.tags and (page := prefect_tags().get(PREFECT_TAG, "")).startswith("http"):
        run.log_tags({MLFLOW_RUN_NOTE: f"{attachments.tags[MLFLOW_RUN_NOTE]}\n\n[Run in Prefect]({page})"})
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
    metrics: RunMetrics,
    description: str,
) -> Registered:
    """Register the checkpoint as a version, and decide whether it is the champion. It may be repeated.

    Args:
        run: the MLflow run.
        parameters: of the flow.
        recipe: what the model was pruned by.
        checkpoint: the pruned one.
        evaluations: the evaluations of the compared models.
        metrics: of the run.
        description: Markdown for the version's page.
    """
    source = find_model(parameters.model)
    name = registered_name(parameters.registered_model, source.public_name, recipe.sparsity, recipe.dense_share)
    dense = evaluations["dense"]
    text = metrics.dense.settings
    evaluated_on = [dense.inputs["model"], dense.inputs["text"], text.window_length, text.windows]
    bos = [text.bos] if text.bos else []  # champions without one stay comparable
    settings = digest([*evaluated_on, *bos, dense.parameters["dtype"]])
    tags = {
        "base_model": source.public_name,
        "base_model_digest": source.fingerprint,
        "pattern": "N:M" if recipe.sparsity.is_structured else "unstructured",
        "sparsity": str(recipe.sparsity),
        "achieved_sparsity": repr(metrics.achieved_sparsity),
        "sparsity_of_all_matrices": repr(metrics.sparsity_of_all_matrices),
        "prunable_share": repr(metrics.coverage.prunable_share),
        "recipe_hash": checkpoint.inputs["recipe"],
    }
    files = find_model(str(checkpoint.path(CHECKPOINT))).fingerprint
    challenger = challenger_of(metrics, settings, as_evaluated=files == evaluations["pruned"].inputs["model"])
    return register_version(run, name, checkpoint, challenger, parameters, tags, description)
