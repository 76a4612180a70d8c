"""Text of one source in two parts: ``calibration.parquet`` to search on, ``judged.parquet`` to judge on."""

from pathlib import Path

from optishear.calibration.calibration_set import CalibrationSet
from optishear.file_names import CALIBRATION
from tasks.engine.stage import Stage
from tasks.stages.calibrate import calibrate_stage, load_calibration
from tasks.stages.parameters import HoldBackStageParameters
from tasks.store.artifacts import Artifact
from tasks.store.provenance import provenance

JUDGED = "judged.parquet"


def hold_back(parameters: HoldBackStageParameters, name: str) -> Artifact:
    """The first ``sequences`` blocks of the calibration source to search on, and the next to judge on.

    They are drawn together, so that no block is in both; only a document that the cut goes through is.

    Args:
        parameters: whose ``calibration`` is the source.
        name: of the source, in the labels.
    """
    both = parameters.model_copy(update={"sequences": parameters.sequences + parameters.judged_sequences})
    drawn = calibrate_stage.labelled(f"calibrate {name}")(both)
    return hold_back_stage.labelled(f"hold back {name}")(parameters, drawn)


def load_judged(artifact: Artifact) -> CalibrationSet:
    """The blocks to judge on."""
    return CalibrationSet.load(artifact.path(JUDGED))


def _inputs(_parameters: HoldBackStageParameters, drawn: Artifact) -> dict[str, str]:
    return {"blocks": drawn.digest(CALIBRATION)}


def _write(outputs: Path, parameters: HoldBackStageParameters, drawn: Artifact) -> None:
    blocks = load_calibration(drawn)
    parts = {CALIBRATION: blocks.tokens[: parameters.sequences], JUDGED: blocks.tokens[parameters.sequences :]}
    for name, tokens in parts.items():
        CalibrationSet(tokens, blocks.source).save(outputs / name, provenance(parameters))


hold_back_stage = Stage(name="hold-back", version=1, parameters=("sequences",), inputs=_inputs, write=_write)
