"""The stage beside the evaluation: bytes of a checkpoint on disk and in memory, and decoding speed."""

from contextlib import suppress
from pathlib import Path

from optishear.errors import InputError
from optishear.formats.stored import open_checkpoint
from optishear.inference.fast_layers import use_sparse_layers
from optishear.inference.footprint import Footprint, measure_footprint
from optishear.json_file import write_json
from optishear.models.folder import checkpoint_folder
from optishear.parameters.model import ModelParameters
from optishear.pruning.export import size_in
from optishear.run_metrics.evaluated_model import footprint_numbers
from tasks.engine.model_cache import shared_model, take_model
from tasks.engine.placement import measured_on
from tasks.engine.stage import Stage
from tasks.store.artifacts import Artifact
from tasks.store.keys import model_digest
from tasks.store.model_sources import find_model

NAME = "footprint"
FOOTPRINT = "footprint.json"


def _inputs(parameters: ModelParameters) -> dict[str, str]:
    return {"model": model_digest(parameters), "device": measured_on(parameters, NAME)}


def _write(outputs: Path, parameters: ModelParameters) -> None:
    """By format; ``bitmask`` only if some layers of the model are packed."""
    checkpoint = open_checkpoint(checkpoint_folder(find_model(parameters.model)))
    sizes = {"dense": size_in(checkpoint, "dense"), "bitmask": size_in(checkpoint, "bitmask")}
    footprints: dict[str, Footprint] = {}
    with shared_model(parameters) as loaded:
        footprints["dense"] = measure_footprint(loaded.model, sizes["dense"])
    del loaded
    if sizes["bitmask"] < sizes["dense"]:
        model, sparse = take_model(parameters).model, 0
        with suppress(InputError):  # no layers that could be replaced, yet packed on disk
            sparse = use_sparse_layers(model)
        footprints["bitmask"] = measure_footprint(model, sizes["bitmask"], sparse)
    write_json(outputs / FOOTPRINT, footprints)


def footprints_of(artifact: Artifact) -> dict[str, Footprint]:
    """The footprints that the stage's artifact holds, by format."""
    return {format: Footprint.model_validate(values) for format, values in artifact.read_json(FOOTPRINT).items()}


footprint_stage = Stage(
    name=NAME,
    version=3,
    parameters=("dtype",),
    inputs=_inputs,
    write=_write,
    scores=lambda footprint: footprint_numbers(footprints_of(footprint)),
    on_gpu=ModelParameters,
)
