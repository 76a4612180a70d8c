"""Stage 4b: reconstruct the kept weights, and save the checkpoint in place of the masked one, ``model/``."""

from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from transformers.modeling_utils import PreTrainedModel

from optishear.file_names import CALIBRATION, STATISTICS
from optishear.memory.solver_needs import RECONSTRUCTION_FIX, reconstruct_need
from optishear.models.devices import DISK
from optishear.models.load import LoadedModel
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.recipes.recipe import Recipe
from optishear.reconstruction.description import in_words, mask_rule
from optishear.reconstruction.reconstruct import ReconstructionSummary, check_sequences, reconstruct
from optishear.run_metrics.checkpoint import ReconstructionMetrics
from optishear.statistics.statistics import Statistics
from optishear.streaming.disk_model import DiskModel
from optishear.streaming.prune import reconstruct_on_disk
from tasks.engine.disk import checkpoint_bytes
from tasks.engine.memory import Choice, check_stage_memory, plan_stage
from tasks.engine.model_cache import open_on_disk, take_model
from tasks.engine.stage import Stage
from tasks.stages.calibrate import load_calibration
from tasks.stages.parameters import ReconstructStageParameters
from tasks.stages.prune import checkpoint_metrics, save_pruned, sparsities
from tasks.stages.statistics import load_statistics
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest, model_digest


def check_fitted_sequences(reconstruction: ReconstructionParameters, calibration: CalibrationParameters) -> None:
    """Refuse fewer calibration sequences than the reconstruction needs.

    Raises:
        InputError: names the parameter.
    """
    check_sequences(reconstruction, calibration.sequences)


def check_memory_of_reconstruction(
    model: PreTrainedModel,
    parameters: ModelParameters,
    reconstruction: ReconstructionParameters,
    calibration: CalibrationParameters,
    fix: str = RECONSTRUCTION_FIX,
) -> None:
    """Refuse a model that does not fit the device while its layers are solved or its blocks tuned.

    Raises:
        InputError: names the memory.
    """
    if reconstruction.reconstructs:
        memory = _memory(reconstruction, calibration.sequences, calibration.sequence_length)
        check_stage_memory(model, parameters, memory, fix)


def _memory(parameters: ReconstructionParameters, sequences: int, length: int) -> Choice:
    return lambda shape, itemsize, _: reconstruct_need(shape, itemsize, parameters, sequences=sequences, length=length)


def _inputs(
    parameters: ReconstructStageParameters, recipe: Recipe, calibration: Artifact, statistics: Artifact
) -> dict[str, str]:
    return {
        "model": model_digest(parameters),
        "recipe": digest(recipe.model_dump(mode="json")),
        "calibration": calibration.digest(CALIBRATION),
        "statistics": statistics.digest(STATISTICS),
    }


def _write(
    outputs: Path, parameters: ReconstructStageParameters, recipe: Recipe, calibration: Artifact, statistics: Artifact
) -> None:
    blocks = load_calibration(calibration)
    sequences, length = blocks.tokens.shape
    plan_stage(parameters, _memory(parameters, sequences, length), RECONSTRUCTION_FIX)
    of_model = load_statistics(statistics)
    save = partial(_save, outputs, parameters, recipe, of_model)
    if parameters.device == DISK:
        disk = open_on_disk(parameters)
        with TemporaryDirectory(dir=outputs) as folder:
            summary = reconstruct_on_disk(disk, recipe, of_model, blocks, parameters, Path(folder), progress=True)
            save(disk, summary, Path(folder))
    else:
        loaded = take_model(parameters)
        save(loaded, reconstruct(loaded.model, recipe, of_model, blocks, parameters, progress=True))


def _save(
    outputs: Path,
    parameters: ReconstructStageParameters,
    recipe: Recipe,
    statistics: Statistics,
    loaded: LoadedModel | DiskModel,
    summary: ReconstructionSummary,
    weights: Path | None = None,
) -> None:
    save_pruned(
        outputs,
        loaded,
        recipe,
        summary.pruning,
        statistics.few_tokens_in_words,
        reconstruction_in_words=in_words(parameters, summary),
        mask_rule=mask_rule(parameters),
        reconstruction=_metrics(summary),
        weights=weights,
    )


def _metrics(summary: ReconstructionSummary) -> ReconstructionMetrics:
    return ReconstructionMetrics(
        layer_errors=summary.layer_errors,
        mean_layer_error=fmean(summary.layer_errors.values()),
        converged_rows=fmean(summary.converged.values()) if summary.converged else None,
        block_errors=summary.block_errors,
        experts=summary.experts,
    )


def _scores(checkpoint: Artifact) -> dict[str, float | None]:
    reconstruction = checkpoint_metrics(checkpoint).reconstruction
    assert reconstruction is not None  # the stage writes no checkpoint without
    return {
        **sparsities(checkpoint),
        "mean_layer_error": reconstruction.mean_layer_error,
        "converged_rows": reconstruction.converged_rows,
    }


reconstruct_stage = Stage(
    name="reconstruct",
    version=9,
    parameters=("dtype", *ReconstructionParameters.model_fields),
    inputs=_inputs,
    write=_write,
    disk=checkpoint_bytes,
    on_gpu=ReconstructStageParameters,
    scores=_scores,
)
