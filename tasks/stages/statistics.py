"""Stage 2: one pass over the dense model, ``statistics.parquet``."""

from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file

from optishear.file_names import CALIBRATION, STATISTICS
from optishear.parameters.model import ModelParameters
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import Statistics
from tasks.engine.batch_size import SEQUENCES_PER_PASS, with_smaller_batches
from tasks.engine.model_cache import shared_model
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


def _inputs(parameters: ModelParameters, calibration: Artifact) -> dict[str, str]:
    return {"model": model_digest(parameters), "calibration": calibration.digest(CALIBRATION)}


def _write(outputs: Path, parameters: ModelParameters, calibration: Artifact) -> None:
    blocks = load_calibration(calibration)
    with shared_model(parameters) as loaded:
        statistics = with_smaller_batches(
            SEQUENCES_PER_PASS, lambda batch_size: collect_statistics(loaded.model, blocks, batch_size)
        )
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
