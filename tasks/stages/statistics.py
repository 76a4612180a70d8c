"""Stage 2: one pass over the dense model, ``statistics.parquet``."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from safetensors.torch import load_file
from transformers.modeling_utils import PreTrainedModel

from optishear.file_names import CALIBRATION, STATISTICS
from optishear.memory.model_shape import ModelShape
from optishear.memory.need import Need
from optishear.memory.needs import LENGTH_FIX, SEQUENCES_PER_PASS, statistics_need
from optishear.models.devices import DISK
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.model import ModelParameters
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import Statistics
from optishear.streaming.statistics import statistics_from_disk
from tasks.engine.memory import check_batch, plan_batch
from tasks.engine.model_cache import open_on_disk, shared_model
from tasks.engine.stage import Stage
from tasks.stages.calibrate import load_calibration
from tasks.store.artifacts import Artifact
from tasks.store.keys import model_digest
from tasks.store.provenance import provenance

GRADIENTS = "gradients.safetensors"


def load_statistics(artifact: Artifact) -> Statistics:
    """The statistics of the stage's artifact, with the gradients where it has them."""
    statistics = Statistics.load(artifact.path(STATISTICS))
    if GRADIENTS in artifact.outputs:
        return replace(statistics, gradients=load_file(artifact.path(GRADIENTS)))
    return statistics


def check_memory_of_statistics(
    model: PreTrainedModel, parameters: ModelParameters, calibration: CalibrationParameters
) -> None:
    """Refuse a model that does not fit the device in a forward pass over one calibration sequence.

    Raises:
        InputError: names the memory.
    """
    check_batch(
        model, parameters, partial(_need, parameters, calibration.sequences, calibration.sequence_length), LENGTH_FIX
    )


def _need(
    parameters: ModelParameters,
    sequences: int,
    length: int,
    shape: ModelShape,
    itemsize: int,
    sequences_per_pass: int,
) -> Need:
    kept = sequences * length if parameters.device == DISK else 0
    return statistics_need(shape, itemsize, length=length, sequences_per_pass=sequences_per_pass, kept_tokens=kept)


def _inputs(parameters: ModelParameters, calibration: Artifact) -> dict[str, str]:
    return {"model": model_digest(parameters), "calibration": calibration.digest(CALIBRATION)}


def _write(outputs: Path, parameters: ModelParameters, calibration: Artifact) -> None:
    blocks = load_calibration(calibration)
    need = partial(_need, parameters, *blocks.tokens.shape)
    first = plan_batch(parameters, SEQUENCES_PER_PASS, need, LENGTH_FIX)
    if parameters.device == DISK:
        statistics = statistics_from_disk(open_on_disk(parameters), blocks, first)
    else:
        with shared_model(parameters) as loaded:
            statistics = collect_statistics(loaded.model, blocks, first)
    statistics.save(
        outputs / STATISTICS,
        {
            **provenance(parameters),
            "calibration": blocks.source,
            "calibration_digest": blocks.digest,
            "dtype": parameters.dtype,
        },
    )


statistics_stage = Stage(
    name="statistics", version=2, parameters=("dtype",), inputs=_inputs, write=_write, on_gpu=ModelParameters
)
