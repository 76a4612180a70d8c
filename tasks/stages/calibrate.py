"""Stage 1: text into token blocks, ``calibration.parquet``."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibrate import SELF, calibrate, check_calibration, check_context
from optishear.calibration.calibration_set import CalibrationSet
from optishear.calibration.self_generated import check_own_text
from optishear.calibration.text import text_digest
from optishear.file_names import CALIBRATION
from optishear.memory.needs import calibrate_need
from optishear.models.load import load_without_weights
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.model import ModelParameters
from tasks.engine.memory import Choice, check_stage_memory, plan_stage
from tasks.engine.model_cache import shared_model
from tasks.engine.stage import Stage
from tasks.stages.parameters import CalibrateStageParameters
from tasks.store.artifacts import Artifact
from tasks.store.keys import model_digest
from tasks.store.provenance import provenance

_FIX = "lower sequence_length or set calibration to a text"


def load_calibration(artifact: Artifact) -> CalibrationSet:
    """The token blocks of the stage's artifact."""
    return CalibrationSet.load(artifact.path(CALIBRATION))


def check_calibration_text(parameters: CalibrationParameters) -> None:
    """Refuse a calibration text that cannot be read.

    Raises:
        InputError: names the text and the reason.
    """
    check_calibration(parameters.calibration)


def check_sequence_length(model: PreTrainedModel, parameters: CalibrationParameters) -> None:
    """Refuse token blocks that are longer than the model's context.

    Raises:
        InputError: names the parameter and the context.
    """
    check_context(model, "sequence_length", parameters.sequence_length)


def check_text_of_model(model: PreTrainedModel, parameters: CalibrationParameters) -> None:
    """Refuse a model that cannot write its own calibration text, where it should, before its weights are loaded.

    Raises:
        InputError: names the family.
    """
    if parameters.calibration == SELF:
        check_own_text(model.config.model_type)


def check_memory_of_text(
    model: PreTrainedModel, parameters: ModelParameters, calibration: CalibrationParameters
) -> None:
    """Refuse a model that does not fit the device while it writes its calibration text.

    Raises:
        InputError: names the memory.
    """
    if calibration.calibration == SELF:
        check_stage_memory(model, parameters, _memory(calibration), _FIX)


def _memory(parameters: CalibrationParameters) -> Choice:
    sequences, length = parameters.sequences, parameters.sequence_length
    return lambda shape, itemsize, _: calibrate_need(shape, itemsize, sequences=sequences, length=length)


def _inputs(parameters: CalibrateStageParameters) -> dict[str, str]:
    return {"model": model_digest(parameters), "text": text_digest(parameters.calibration)}


def _write(outputs: Path, parameters: CalibrateStageParameters) -> None:
    if _needs_model(parameters):
        plan_stage(parameters, _memory(parameters), _FIX)
        with shared_model(parameters) as loaded:
            blocks = _blocks(parameters, loaded.model, loaded.tokenizer)
    else:
        model, tokenizer = load_without_weights(parameters.model, parameters.trust_remote_code)
        blocks = _blocks(parameters, model, tokenizer)
    blocks.save(outputs / CALIBRATION, provenance(parameters))


def _blocks(
    parameters: CalibrateStageParameters, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> CalibrationSet:
    return calibrate(
        model,
        tokenizer,
        calibration=parameters.calibration,
        sequences=parameters.sequences,
        sequence_length=parameters.sequence_length,
        seed=parameters.seed,
        bos=parameters.bos,
    )


def _needs_model(parameters: CalibrateStageParameters) -> bool:
    """Whether the model writes the text; a given text needs its tokenizer and its configuration alone."""
    return parameters.calibration == SELF


calibrate_stage = Stage(
    name="calibrate",
    version=2,
    parameters=("sequences", "sequence_length", "bos", "seed", "dtype"),
    inputs=_inputs,
    write=_write,
    on_gpu=CalibrateStageParameters,
    needs_gpu=_needs_model,
)
