"""Stage 2 for metrics that need gradients: ``statistics.parquet``, and ``gradients.safetensors`` beside it."""

from pathlib import Path

from safetensors.torch import save_file
from transformers.modeling_utils import PreTrainedModel

from optishear.file_names import CALIBRATION, STATISTICS
from optishear.memory.needs import LENGTH_FIX, gradients_need
from optishear.parameters.model import ModelParameters
from optishear.recipes.recipe import Recipe
from optishear.statistics.gradients import collect_gradients
from tasks.engine.disk import shape_of_model
from tasks.engine.memory import Choice, check_stage_memory, plan_stage
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


def check_gradients_memory(model: PreTrainedModel, parameters: ModelParameters, length: int) -> None:
    """Refuse a model that does not fit the device in a backward pass over a sequence of that length.

    Raises:
        InputError: names the memory.
    """
    check_stage_memory(model, parameters, _memory(length), LENGTH_FIX)


def _memory(length: int) -> Choice:
    return lambda shape, itemsize, _: gradients_need(shape, itemsize, length=length)


def _inputs(parameters: ModelParameters, calibration: Artifact, statistics: Artifact) -> dict[str, str]:
    return {
        "model": model_digest(parameters),
        "calibration": calibration.digest(CALIBRATION),
        "statistics": statistics.digest(STATISTICS),
    }


def _write(outputs: Path, parameters: ModelParameters, calibration: Artifact, statistics: Artifact) -> None:
    blocks = load_calibration(calibration)
    plan_stage(parameters, _memory(blocks.tokens.shape[1]), LENGTH_FIX)
    with shared_model(parameters) as loaded:
        gradients = collect_gradients(loaded.model, blocks)
    save_file(gradients, outputs / GRADIENTS)
    (outputs / STATISTICS).write_bytes(statistics.path(STATISTICS).read_bytes())


def _disk(parameters: ModelParameters) -> int:
    shape = shape_of_model(parameters)
    return 2 * shape.prunable if shape is not None else 0


gradients_stage = Stage(
    name="gradients", version=3, parameters=("dtype",), inputs=_inputs, write=_write, disk=_disk, on_gpu=ModelParameters
)
