"""The stage beside the evaluation: bytes of a checkpoint on disk and in memory, and decoding speed."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from optishear.errors import InputError
from optishear.formats.stored import open_checkpoint
from optishear.inference.fast_layers import use_sparse_layers
from optishear.inference.footprint import measure_footprint
from optishear.models.folder import checkpoint_folder
from optishear.parameters.model import ModelParameters
from optishear.pruning.export import size_in
from tasks.engine.model_cache import shared_model, take_model
from tasks.engine.placement import measured_on
from tasks.engine.stage import Stage
from tasks.store.json_file import write_json
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
    footprint: dict[str, Any] = {}
    with shared_model(parameters) as loaded:
        footprint["dense"] = measure_footprint(loaded.model, sizes["dense"]).model_dump()
    del loaded
    if sizes["bitmask"] < sizes["dense"]:
        model = take_model(parameters).model
        with suppress(InputError):  # no layers that could be replaced, yet packed on disk
            use_sparse_layers(model)
        footprint["bitmask"] = measure_footprint(model, sizes["bitmask"]).model_dump()
    write_json(outputs / FOOTPRINT, footprint)


def flat_footprint(footprint: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Its numbers under names such as ``bitmask/disk_bytes``."""
    return {
        f"{format}/{name}": value
        for format, values in footprint.items()
        for name, value in values.items()
        if name != "device"
    }


footprint_stage = Stage(
    name=NAME,
    version=2,
    parameters=("dtype",),
    inputs=_inputs,
    write=_write,
    scores=lambda artifact: flat_footprint(artifact.read_json(FOOTPRINT)),
    on_gpu=ModelParameters,
)
