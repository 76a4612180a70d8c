"""Evaluate a model on held-out token blocks, ``perplexity.json``."""

from pathlib import Path

from optishear.evaluation.perplexity import perplexity
from optishear.file_names import STATISTICS
from optishear.json_file import write_json
from optishear.parameters.model import ModelParameters
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import Recipe
from tasks.engine.model_cache import shared_model, take_model
from tasks.engine.stage import Stage
from tasks.stages.held_out import HELD_OUT, load_held_out
from tasks.stages.statistics import load_statistics
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest, model_digest

PERPLEXITY = "perplexity.json"


def load_perplexity(artifact: Artifact) -> float:
    """The perplexity on the blocks."""
    return float(artifact.read_json(PERPLEXITY)["perplexity"])


def _inputs(
    parameters: ModelParameters, blocks: Artifact, recipe: Recipe | None = None, statistics: Artifact | None = None
) -> dict[str, str]:
    inputs = {"model": model_digest(parameters), "blocks": blocks.digest(HELD_OUT)}
    if recipe is not None and statistics is not None:
        inputs["recipe"] = digest(recipe.model_dump(mode="json"))
        inputs["statistics"] = statistics.digest(STATISTICS)
    return inputs


def _write(
    outputs: Path,
    parameters: ModelParameters,
    blocks: Artifact,
    recipe: Recipe | None = None,
    statistics: Artifact | None = None,
) -> None:
    """Without a recipe, the dense model is evaluated."""
    tokens = load_held_out(blocks).tokens
    if recipe is None or statistics is None:
        with shared_model(parameters) as dense:
            value = perplexity(dense.model, tokens)
    else:
        pruned = take_model(parameters).model
        apply_recipe(pruned, recipe, load_statistics(statistics), progress=True)
        value = perplexity(pruned, tokens)
    write_json(outputs / PERPLEXITY, {"perplexity": value})


evaluate_held_out_stage = Stage(
    name="evaluate-held-out", version=1, parameters=("dtype",), inputs=_inputs, write=_write, on_gpu=ModelParameters
)
