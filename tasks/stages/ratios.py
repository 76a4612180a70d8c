"""Sparsity ratios of the layers by a published method, ``ratios.json``."""

from pathlib import Path

from optishear.file_names import STATISTICS
from optishear.json_file import write_json
from optishear.models.select_layers import select_layers
from optishear.models.selection import Selection
from optishear.parameters.model import ModelParameters
from optishear.pattern import Pattern
from optishear.ratios.allocate import RatioMethod, allocate
from tasks.engine.model_cache import shared_model
from tasks.engine.stage import Stage
from tasks.stages.statistics import load_statistics
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest, model_digest

RATIOS = "ratios.json"


def load_ratios(artifact: Artifact) -> dict[str, list[float]]:
    """The ratios, as a recipe has them."""
    ratios: dict[str, list[float]] = artifact.read_json(RATIOS)
    return ratios


def _inputs(
    parameters: ModelParameters, statistics: Artifact, method: RatioMethod, sparsity: Pattern, selection: Selection
) -> dict[str, str]:
    inputs = {"layers": digest(selection.model_dump())} if selection else {}
    return {
        **inputs,
        "model": model_digest(parameters),
        "statistics": statistics.digest(STATISTICS),
        "method": method,
        "sparsity": str(sparsity),
    }


def _write(
    outputs: Path,
    parameters: ModelParameters,
    statistics: Artifact,
    method: RatioMethod,
    sparsity: Pattern,
    selection: Selection,
) -> None:
    with shared_model(parameters) as loaded:
        layers = select_layers(loaded.model, selection)
        ratios = allocate(method, layers, load_statistics(statistics), sparsity.fraction)
    write_json(outputs / RATIOS, ratios)


ratios_stage = Stage(
    name="ratios", version=3, parameters=("dtype",), inputs=_inputs, write=_write, on_gpu=ModelParameters
)
