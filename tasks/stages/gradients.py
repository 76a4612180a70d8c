"""Stage 2 for metrics that need gradients: ``statistics.parquet``, and ``gradients.safetensors`` beside it."""

from pathlib import Path

from safetensors.torch import save_file

from optishear.file_names import CALIBRATION, STATISTICS
from optishear.parameters.model import ModelParameters
from optishear.recipes.recipe import Recipe
from optishear.statistics.gradients import collect_gradients
from tasks.engine.model_cache import shared_model
from tasks.engine.stage import Stage
from tasks.stages.calibrate import load_calibration
from tasks.stages.statistics import GRADIENTS, statistics_stage
from tasks.store.artifacts import Artifact
from tasks.store.keys import model_digest


def observe(parameters: ModelParameters, blocks: Artifact, recipe: Recipe | None = None) -> Artifact:
    """The statistics that a recipe needs: with gradients where one of its metrics asks for them."""
    statistics = statistics_stage(parameters, blocks)
    return gradients_stage(parameters, blocks, statistics) if recipe and recipe.needs_gradients else statistics


def _inputs(parameters: ModelParameters, calibration: Artifact, statistics: Artifact) -> dict[str, str]:
    return {
        "model": model_digest(parameters),
        "calibration": calibration.digest(CALIBRATION),
        "statistics": statistics.digest(STATISTICS),
    }


def _write(outputs: Path, parameters: ModelParameters, calibration: Artifact, statistics: Artifact) -> None:
    with shared_model(parameters) as loaded:
        gradients = collect_gradients(loaded.model, load_calibration(calibration))
    save_file(gradients, outputs / GRADIENTS)
    (outputs / STATISTICS).write_bytes(statistics.path(STATISTICS).read_bytes())


gradients_stage = Stage(
    name="gradients", version=2, parameters=("dtype",), inputs=_inputs, write=_write, on_gpu=ModelParameters
)
