"""The stage beside the pipeline that writes a checkpoint in another format, ``model/``."""

from pathlib import Path

from optishear.disk import free_disk
from optishear.file_names import CHECKPOINT
from optishear.formats.stored import open_checkpoint
from optishear.models.folder import checkpoint_folder
from optishear.pruning.export import size_in
from optishear.serving.export import export_model, fp8_bytes, gguf_bytes
from tasks.engine.stage import Stage
from tasks.stages.parameters import ExportStageParameters
from tasks.store.artifacts import artifacts_folder
from tasks.store.model_sources import find_model


def _inputs(parameters: ExportStageParameters) -> dict[str, str]:
    return {"model": find_model(parameters.model).fingerprint}


def _write(outputs: Path, parameters: ExportStageParameters) -> None:
    source = find_model(parameters.model)
    export_model(
        checkpoint_folder(source), outputs / CHECKPOINT, parameters.format, parameters.gguf_type, source.public_name
    )


def _disk(parameters: ExportStageParameters) -> int:
    """The weights in the new format; they are packed, to be counted, only where they would not fit unpacked."""
    checkpoint = open_checkpoint(checkpoint_folder(find_model(parameters.model)))
    if parameters.format == "gguf":
        return gguf_bytes(checkpoint, parameters.gguf_type)
    if parameters.format == "fp8-2of4":
        return fp8_bytes(checkpoint)
    dense = size_in(checkpoint, "dense")
    free = free_disk(artifacts_folder())
    return dense if free is None or dense < free else size_in(checkpoint, parameters.format)


export_stage = Stage(
    name="export", version=2, parameters=("format", "gguf_type"), inputs=_inputs, write=_write, disk=_disk
)
