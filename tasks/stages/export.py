"""The stage beside the pipeline that writes a checkpoint in another format, ``model/``."""

from pathlib import Path

from optishear.file_names import CHECKPOINT
from optishear.models.folder import checkpoint_folder
from optishear.serving.export import export_model
from tasks.engine.stage import Stage
from tasks.stages.parameters import ExportStageParameters
from tasks.store.model_sources import find_model


def _inputs(parameters: ExportStageParameters) -> dict[str, str]:
    return {"model": find_model(parameters.model).fingerprint}


def _write(outputs: Path, parameters: ExportStageParameters) -> None:
    source = find_model(parameters.model)
    export_model(
        checkpoint_folder(source), outputs / CHECKPOINT, parameters.format, parameters.gguf_type, source.public_name
    )


export_stage = Stage(name="export", version=2, parameters=("format", "gguf_type"), inputs=_inputs, write=_write)
