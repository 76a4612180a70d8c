"""Stage 5: look at the pruned model layer by layer, beside Wanda: ``diagnosis/`` and ``summary.json``."""

from functools import partial
from pathlib import Path

from transformers.modeling_utils import PreTrainedModel

from optishear.diagnosis.diagnosis import Diagnosis, DiagnosisSummary
from optishear.diagnosis.layer_errors import layer_errors
from optishear.diagnosis.pruned_weights import in_checkpoint, masked_by
from optishear.diagnosis.scales import diagnose_scales
from optishear.file_names import CALIBRATION, CHECKPOINT, DIAGNOSIS, STATISTICS
from optishear.json_file import write_json
from optishear.memory.model_shape import ModelShape
from optishear.memory.need import Need
from optishear.memory.needs import LENGTH_FIX, SEQUENCES_PER_PASS, diagnose_need
from optishear.models.select_layers import select_layers
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.evaluation import EvaluationParameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pruning.channels import permute_channels
from optishear.recipes.recipe import Recipe, published_beside
from tasks.engine.memory import check_batch, plan_batch
from tasks.engine.model_cache import take_model
from tasks.engine.stage import Stage
from tasks.stages.calibrate import load_calibration
from tasks.stages.prune import prune_stage
from tasks.stages.statistics import load_statistics
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest, model_digest

DIAGNOSIS_SUMMARY = "summary.json"


def load_diagnosis(artifact: Artifact) -> Diagnosis:
    """The tables of the stage's artifact."""
    return Diagnosis.load(artifact.path(DIAGNOSIS))


def check_memory_of_diagnosis(
    model: PreTrainedModel,
    parameters: ModelParameters,
    calibration: CalibrationParameters,
    _: EvaluationParameters,
    __: ReconstructionParameters,
) -> None:
    """Refuse a model that does not fit the device in the diagnosis, which the runs that prune and evaluate have.

    Raises:
        InputError: names the memory.
    """
    check_batch(model, parameters, partial(_need, calibration.sequence_length), LENGTH_FIX)


def _need(length: int, shape: ModelShape, itemsize: int, sequences_per_pass: int) -> Need:
    return diagnose_need(shape, itemsize, length=length, sequences_per_pass=sequences_per_pass)


def _inputs(
    parameters: ModelParameters, calibration: Artifact, statistics: Artifact, recipe: Recipe, pruned: Artifact
) -> dict[str, str]:
    return {
        "model": model_digest(parameters),
        "calibration": calibration.digest(CALIBRATION),
        "statistics": statistics.digest(STATISTICS),
        "recipe": digest(recipe.model_dump(mode="json")),
        "pruned": pruned.key,
    }


def _write(
    outputs: Path,
    parameters: ModelParameters,
    calibration: Artifact,
    statistics: Artifact,
    recipe: Recipe,
    pruned: Artifact,
) -> None:
    tokens = load_calibration(calibration).tokens
    need = partial(_need, tokens.shape[1])
    first = plan_batch(parameters, SEQUENCES_PER_PASS, need, LENGTH_FIX)
    model = take_model(parameters).model
    layers = select_layers(model, recipe.selection)
    # In the order of the channels that the checkpoint has.
    loaded = permute_channels(model, recipe, load_statistics(statistics))
    wanda = published_beside("wanda", recipe)
    alignment, distributions = diagnose_scales(layers, {"wanda": wanda, "pruned": recipe}, loaded)
    methods = {"wanda": masked_by(wanda, layers, loaded)}
    if pruned.stage != prune_stage.name:
        methods["masked"] = masked_by(recipe, layers, loaded)
    # The written weights, not those that the recipe would give.
    methods["pruned"] = in_checkpoint(pruned.path(CHECKPOINT), model)
    of_layers, of_blocks = layer_errors(model, tokens, methods, batch_size=first)
    diagnosis = Diagnosis(alignment, distributions, of_layers, of_blocks)
    diagnosis.save(outputs / DIAGNOSIS)
    write_json(outputs / DIAGNOSIS_SUMMARY, diagnosis.summary())


def summary_of(artifact: Artifact) -> DiagnosisSummary:
    """The means that the stage's artifact holds."""
    return artifact.read_model(DIAGNOSIS_SUMMARY, DiagnosisSummary)


diagnose_stage = Stage(
    name="diagnose",
    version=4,
    parameters=("dtype",),
    inputs=_inputs,
    write=_write,
    scores=lambda diagnosis: summary_of(diagnosis).numbers(),
    on_gpu=ModelParameters,
)
