"""Stage 4: apply a recipe and save the pruned checkpoint, ``model/``."""

from pathlib import Path
from tempfile import TemporaryDirectory

from optishear.file_names import CHECKPOINT, STATISTICS
from optishear.json_file import write_json
from optishear.memory.needs import prune_need
from optishear.models.coverage import warn_of_coverage
from optishear.models.devices import DISK
from optishear.models.load import LoadedModel
from optishear.parameters.model import ModelParameters
from optishear.pruning.apply import PruningSummary, apply_recipe
from optishear.pruning.card import model_card
from optishear.pruning.checkpoint import measured_sparsity, save_checkpoint
from optishear.recipes.recipe import Recipe
from optishear.recovery.summary import RecoverySummary
from optishear.run_metrics.checkpoint import CheckpointMetrics, ReconstructionMetrics
from optishear.streaming.disk_model import DiskModel
from optishear.streaming.prune import prune_on_disk
from tasks.engine.disk import checkpoint_bytes
from tasks.engine.memory import plan_stage
from tasks.engine.model_cache import open_on_disk, take_model
from tasks.engine.stage import Stage
from tasks.stages.statistics import load_statistics
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest, model_digest

SUMMARY = "summary.json"


def _inputs(parameters: ModelParameters, recipe: Recipe, statistics: Artifact) -> dict[str, str]:
    return {
        "model": model_digest(parameters),
        "recipe": digest(recipe.model_dump(mode="json")),
        "statistics": statistics.digest(STATISTICS),
    }


def _write(outputs: Path, parameters: ModelParameters, recipe: Recipe, statistics: Artifact) -> None:
    plan_stage(parameters, lambda shape, itemsize, _: prune_need(shape, itemsize))
    of_model = load_statistics(statistics)
    if parameters.device == DISK:
        disk = open_on_disk(parameters)
        with TemporaryDirectory(dir=outputs) as folder:
            summary = prune_on_disk(disk, recipe, of_model, Path(folder), progress=True)
            save_pruned(outputs, disk, recipe, summary, of_model.few_tokens_in_words, weights=Path(folder))
        return
    loaded = take_model(parameters)
    summary = apply_recipe(loaded.model, recipe, of_model, progress=True)
    save_pruned(outputs, loaded, recipe, summary, of_model.few_tokens_in_words)


def save_pruned(
    outputs: Path,
    loaded: LoadedModel | DiskModel,
    recipe: Recipe,
    summary: PruningSummary,
    experts_in_words: str,
    reconstruction_in_words: str = "",
    mask_rule: str = "",
    reconstruction: ReconstructionMetrics | None = None,
    recovery: RecoverySummary | None = None,
    weights: Path | None = None,
) -> None:
    """Write a pruned model's checkpoint and its summary.

    Args:
        outputs: folder of the stage's files.
        loaded: the model, pruned; or on disk.
        recipe: the recipe that was applied.
        summary: its zeros.
        experts_in_words: a sentence on the experts that got few tokens; empty where there are none.
        reconstruction_in_words: what was done to the weights beside the masks.
        mask_rule: the rule of the masks, if they are not those of the recipe.
        reconstruction: its numbers.
        recovery: those of the recovery.
        weights: folder of the weight files, of a model on disk.
    """
    coverage = warn_of_coverage(loaded.model)
    card = model_card(
        loaded.source,
        recipe,
        achieved_sparsity=summary.achieved_sparsity,
        sparsity_of_all_matrices=summary.sparsity_of_all_matrices,
        coverage=coverage,
        layers=summary.layers,
        reconstruction=reconstruction_in_words,
        mask_rule=mask_rule,
        experts=experts_in_words,
    )
    folder = outputs / CHECKPOINT
    save_checkpoint(folder, loaded.model, loaded.tokenizer, recipe, card, weights)
    # Measured in the written files, not in the model in memory.
    zeros = measured_sparsity(folder, loaded.model)
    metrics = CheckpointMetrics(
        achieved_sparsity=zeros.prunable,
        sparsity_of_all_matrices=zeros.all_matrices,
        coverage=coverage,
        layers=dict(summary.layers),
        reconstruction_in_words=reconstruction_in_words,
        mask_rule=mask_rule,
        experts_in_words=experts_in_words,
        reconstruction=reconstruction,
        recovery=recovery,
    )
    write_json(outputs / SUMMARY, metrics)


def checkpoint_metrics(checkpoint: Artifact) -> CheckpointMetrics:
    """The numbers that a checkpoint's artifact holds."""
    return checkpoint.read_model(SUMMARY, CheckpointMetrics)


def sparsities(checkpoint: Artifact) -> dict[str, float | None]:
    """The sparsities and the prunable share of a checkpoint, for MLflow."""
    metrics = checkpoint_metrics(checkpoint)
    return {
        "achieved_sparsity": metrics.achieved_sparsity,
        "sparsity_of_all_matrices": metrics.sparsity_of_all_matrices,
        "prunable_share": metrics.coverage.prunable_share,
    }


prune_stage = Stage(
    name="prune",
    version=6,
    parameters=("dtype",),
    inputs=_inputs,
    write=_write,
    scores=sparsities,
    disk=checkpoint_bytes,
    on_gpu=ModelParameters,
)
