"""Sparsity ratios of the layers by a published method, ``ratios.json``."""

from pathlib import Path

from optishear.file_names import STATISTICS
from optishear.models.layers import prunable_layers
from optishear.parameters.model import ModelParameters
from optishear.pattern import Pattern
from optishear.ratios.allocate import RatioMethod, allocate
from tasks.engine.model_cache import shared_model
from tasks.engine.stage import Stage
from tasks.stages.statistics import load_statistics
from tasks.store.artifacts import Artifact
from tasks.store.json_file import write_json
from tasks.store.keys import model_digest

RATIOS = "ratios.json"


def load_ratios(artifact: Artifact) -> dict[str, list[float]]:
    """The ratios, as a recipe has them."""
    ratios: dict[str, list[float]] = artifact.read_json(RATIOS)
    return ratios


def _inputs(
    parameters: ModelParameters, statistics: Artifact, method: RatioMethod, sparsity: Pattern
) -> dict[str, str]:
    return {
        "model": model_digest(parameters),
        "statistics": statistics.digest(STATISTICS),
        "method": method,
        "sparsity": str(sparsity),
    }


def _write(
    outputs: Path, parameters: ModelParameters, statistics: Artifact, method: RatioMethod, sparsity: Pattern
) -> None:
    with shared_model(parameters) as loaded:
        layers = prunable_layers(loaded.model)
        ratios = allocate(method, layers, load_statistics(statistics), sparsity.fraction)
    write_json(outputs / RATIOS, ratios)


ratios_stage = Stage(
    name="ratios", version=2, parameters=("dtype",), inputs=_inputs, write=_write, on_gpu=ModelParameters
)
