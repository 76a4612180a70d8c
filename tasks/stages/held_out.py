"""Text of one source in two parts: ``calibration.parquet`` to search on, ``held_out.parquet`` to evaluate on."""

from dataclasses import replace
from pathlib import Path

from optishear.calibration.calibration_set import CalibrationSet
from optishear.file_names import CALIBRATION
from tasks.engine.stage import Stage
from tasks.stages.calibrate import calibrate_stage, load_calibration
from tasks.stages.parameters import HoldOutStageParameters
from tasks.store.artifacts import Artifact
from tasks.store.provenance import provenance

HELD_OUT = "held_out.parquet"


def hold_out(parameters: HoldOutStageParameters, name: str) -> Artifact:
    """The first ``sequences`` blocks of the calibration source to search on, and the next to evaluate on.

    They are drawn together, so that no block is in both. A document may be where a block of short ones goes on with the
    next, and where there are fewer documents than blocks.

    Args:
        parameters: whose ``calibration`` is the source.
        name: the name of the source, for the labels.
    """
    both = parameters.model_copy(update={"sequences": parameters.sequences + parameters.held_out_sequences})
    calibration = calibrate_stage.labelled(f"calibrate {name}")(both)
    return hold_out_stage.labelled(f"hold out {name}")(parameters, calibration)


def load_held_out(artifact: Artifact) -> CalibrationSet:
    """The blocks to evaluate on."""
    return CalibrationSet.load(artifact.path(HELD_OUT))


def _inputs(_parameters: HoldOutStageParameters, calibration: Artifact) -> dict[str, str]:
    return {"blocks": calibration.digest(CALIBRATION)}


def _write(outputs: Path, parameters: HoldOutStageParameters, calibration: Artifact) -> None:
    blocks = load_calibration(calibration)
    parts = {CALIBRATION: blocks.tokens[: parameters.sequences], HELD_OUT: blocks.tokens[parameters.sequences :]}
    for name, tokens in parts.items():
        replace(blocks, tokens=tokens, documents=None).save(outputs / name, provenance(parameters))


hold_out_stage = Stage(name="hold-out", version=1, parameters=("sequences",), inputs=_inputs, write=_write)
