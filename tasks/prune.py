"""Stage 4: apply a recipe and save the pruned checkpoint, ``model/``."""

from pathlib import Path

from optishear.models.layers import prunable_layers
from optishear.parameters import ModelParameters
from optishear.pruning.apply import apply_recipe
from optishear.pruning.card import model_card
from optishear.pruning.checkpoint import measured_sparsity, save_checkpoint
from optishear.recipe import Recipe
from tasks.jsonfile import write_json
from tasks.keys import digest, model_digest
from tasks.model_cache import take_model
from tasks.stage import Stage
from tasks.statistics import STATISTICS, load_statistics
from tasks.store import Artifact

CHECKPOINT = "model"
SUMMARY = "summary.json"


def _inputs(parameters: ModelParameters, recipe: Recipe, statistics: Artifact) -> dict[str, str]:
    return {
        "model": model_digest(parameters),
        "recipe": digest(recipe.model_dump(mode="json")),
        "statistics": statistics.digest(STATISTICS),
    }


def _write(outputs: Path, parameters: ModelParameters, recipe: Recipe, statistics: Artifact) -> None:
    loaded = take_model(parameters)
    layers = [layer.name for layer in prunable_layers(loaded.model)]
    summary = apply_recipe(loaded.model, recipe, load_statistics(statistics), progress=True)
    card = model_card(loaded.source, recipe, achieved_sparsity=summary.achieved_sparsity, layers=summary.layers)
    folder = outputs / CHECKPOINT
    save_checkpoint(folder, loaded.model, loaded.tokenizer, recipe, card)
    # Measured on what was written rather than on what was meant.
    achieved = measured_sparsity(folder, layers)
    write_json(outputs / SUMMARY, {"achieved_sparsity": achieved, "layers": summary.layers})


prune_stage = Stage(
    name="prune",
    version=1,
    parameters=("dtype",),
    inputs=_inputs,
    write=_write,
    scores=lambda pruned: {"achieved_sparsity": pruned.read_json(SUMMARY)["achieved_sparsity"]},
    on_gpu=ModelParameters,
)
