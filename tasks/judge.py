"""Judge a pruned model on the token blocks that were held back, ``judgement.json``."""

from pathlib import Path

from optishear.evaluation.perplexity import perplexity
from optishear.parameters import ModelParameters
from optishear.pruning.apply import apply_recipe
from optishear.recipe import Recipe
from tasks.held_back import JUDGED, load_judged
from tasks.jsonfile import write_json
from tasks.keys import digest, model_digest
from tasks.model_cache import take_model
from tasks.stage import Stage
from tasks.statistics import STATISTICS, load_statistics
from tasks.store import Artifact

JUDGEMENT = "judgement.json"


def load_perplexity(artifact: Artifact) -> float:
    """The perplexity on the blocks."""
    return float(artifact.read_json(JUDGEMENT)["perplexity"])


def _inputs(parameters: ModelParameters, recipe: Recipe, statistics: Artifact, blocks: Artifact) -> dict[str, str]:
    return {
        "model": model_digest(parameters),
        "recipe": digest(recipe.model_dump(mode="json")),
        "statistics": statistics.digest(STATISTICS),
        "blocks": blocks.digest(JUDGED),
    }


def _write(outputs: Path, parameters: ModelParameters, recipe: Recipe, statistics: Artifact, blocks: Artifact) -> None:
    loaded = take_model(parameters)
    apply_recipe(loaded.model, recipe, load_statistics(statistics), progress=True)
    write_json(outputs / JUDGEMENT, {"perplexity": perplexity(loaded.model, load_judged(blocks).tokens)})


judge_stage = Stage(name="judge", version=1, parameters=("dtype",), inputs=_inputs, write=_write)
