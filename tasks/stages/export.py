"""The stage beside the pipeline that writes a checkpoint in another format, ``model/``."""

from pathlib import Path

from optishear.file_names import CHECKPOINT
from optishear.models.folder import checkpoint_folder
from optishear.pruning.export import export_checkpoint
from tasks.engine.stage import Stage
from tasks.stages.parameters import ExportStageParameters
from tasks.store.model_sources import find_model


def _inputs(parameters: ExportStageParameters) -> dict[str, str]:
    return {"model": find_model(parameters.model).fingerprint}


def _write(outputs: Path, parameters: ExportStageParameters) -> None:
    export_checkpoint(checkpoint_folder(find_model(parameters.model)), outputs / CHECKPOINT, parameters.format)


export_stage = Stage(name="export", version=2, parameters=("format",), inputs=_inputs, write=_write)
