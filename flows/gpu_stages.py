"""The stages that need a GPU, each as a flow with its own deployment on the work pool ``gpu``.

A parent flow passes parameters, references and its MLflow run (``tasks.engine.stage``), and reads the artifact from the
shared store.
"""

from flows.shared.titled_flow import stage_flow
from optishear.models.selection import Selection
from optishear.parameters.model import ModelParameters
from optishear.pattern import Pattern
from optishear.ratios.allocate import RatioMethod
from optishear.recipes.recipe import Recipe
from optishear.timing.measure import Step
from tasks.engine.precision import make_precision
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.diagnose import diagnose_stage
from tasks.stages.evaluate import evaluate_stage
from tasks.stages.evaluate_held_out import evaluate_held_out_stage
from tasks.stages.footprint import footprint_stage
from tasks.stages.gradients import gradients_stage
from tasks.stages.parameters import (
    CalibrateStageParameters,
    EvaluateStageParameters,
    ReconstructStageParameters,
    RecoverStageParameters,
    SearchStageParameters,
    SpeedStageParameters,
)
from tasks.stages.prune import prune_stage
from tasks.stages.ratios import ratios_stage
from tasks.stages.reconstruct import reconstruct_stage
from tasks.stages.recover import recover_stage
from tasks.stages.search import search_stage
from tasks.stages.speed import speed_stage
from tasks.stages.statistics import statistics_stage
from tasks.stages.universal_search import MemberArtifacts, universal_search_stage
from tasks.store.artifacts import Reference
from tasks.tracking.stage_runs import RunReference, joined


@stage_flow("precision")
def precision(parameters: ModelParameters) -> Reference:
    """Choose the working precision of this worker's device, for all stages of the pool."""
    return make_precision(parameters).reference


@stage_flow("calibrate")
def calibrate(parameters: CalibrateStageParameters, run: RunReference | None = None) -> Reference:
    """Let the dense model write its calibration text, in token blocks."""
    with joined(run):
        return calibrate_stage(parameters).reference


@stage_flow("speed")
def speed(parameters: SpeedStageParameters, steps: list[Step], run: RunReference | None = None) -> Reference:
    """Measure how fast the model is on this worker's device, to estimate the time of a run."""
    with joined(run):
        return speed_stage(parameters, steps).reference


@stage_flow("statistics")
def statistics(parameters: ModelParameters, calibration: Reference, run: RunReference | None = None) -> Reference:
    """Collect the activation statistics of the dense model on token blocks."""
    with joined(run):
        return statistics_stage(parameters, calibration.artifact()).reference


@stage_flow("gradients")
def gradients(
    parameters: ModelParameters, calibration: Reference, statistics: Reference, run: RunReference | None = None
) -> Reference:
    """Collect the dense model's gradients on token blocks, beside its statistics."""
    with joined(run):
        return gradients_stage(parameters, calibration.artifact(), statistics.artifact()).reference


@stage_flow("search")
def search(
    parameters: SearchStageParameters, calibration: Reference, statistics: Reference, run: RunReference | None = None
) -> Reference:
    """Search the recipe."""
    with joined(run):
        return search_stage(parameters, calibration.artifact(), statistics.artifact()).reference


@stage_flow("universal-search")
def universal_search(
    parameters: SearchStageParameters, members: dict[str, MemberArtifacts], run: RunReference | None = None
) -> Reference:
    """Search one recipe for several models."""
    with joined(run):
        return universal_search_stage(parameters, members).reference


@stage_flow("ratios")
def ratios(
    parameters: ModelParameters,
    statistics: Reference,
    method: RatioMethod,
    sparsity: Pattern,
    selection: Selection,
    run: RunReference | None = None,
) -> Reference:
    """Layer ratios by a published method."""
    with joined(run):
        return ratios_stage(parameters, statistics.artifact(), method, sparsity, selection).reference


@stage_flow("evaluate-held-out")
def evaluate_held_out(
    parameters: ModelParameters,
    blocks: Reference,
    recipe: Recipe | None = None,
    statistics: Reference | None = None,
    run: RunReference | None = None,
) -> Reference:
    """Perplexity on held-out token blocks; with a recipe, of the model pruned by it."""
    artifact = statistics.artifact() if statistics is not None else None
    with joined(run):
        return evaluate_held_out_stage(parameters, blocks.artifact(), recipe, artifact).reference


@stage_flow("prune")
def prune(
    parameters: ModelParameters, recipe: Recipe, statistics: Reference, run: RunReference | None = None
) -> Reference:
    """Apply a recipe and save the pruned checkpoint."""
    with joined(run):
        return prune_stage(parameters, recipe, statistics.artifact()).reference


@stage_flow("reconstruct")
def reconstruct(
    parameters: ReconstructStageParameters,
    recipe: Recipe,
    calibration: Reference,
    statistics: Reference,
    run: RunReference | None = None,
) -> Reference:
    """Apply a recipe, reconstruct the kept weights, and save the checkpoint."""
    with joined(run):
        return reconstruct_stage(parameters, recipe, calibration.artifact(), statistics.artifact()).reference


@stage_flow("recover")
def recover(
    parameters: RecoverStageParameters, recipe: Recipe, pruned: Reference, run: RunReference | None = None
) -> Reference:
    """Train the kept weights of a pruned checkpoint, and save the result."""
    with joined(run):
        return recover_stage(parameters, recipe, pruned.artifact()).reference


@stage_flow("diagnose")
def diagnose(
    parameters: ModelParameters,
    calibration: Reference,
    statistics: Reference,
    recipe: Recipe,
    pruned: Reference,
    run: RunReference | None = None,
) -> Reference:
    """Compare the pruned model with the dense one layer by layer."""
    with joined(run):
        diagnosis = diagnose_stage(parameters, calibration.artifact(), statistics.artifact(), recipe, pruned.artifact())
        return diagnosis.reference


@stage_flow("evaluate")
def evaluate(
    parameters: EvaluateStageParameters,
    recipe: Recipe | None = None,
    statistics: Reference | None = None,
    run: RunReference | None = None,
) -> Reference:
    """Evaluate a model; with a recipe, the model pruned by it."""
    artifact = statistics.artifact() if statistics is not None else None
    with joined(run):
        return evaluate_stage(parameters, recipe, artifact).reference


@stage_flow("footprint")
def footprint(parameters: ModelParameters, run: RunReference | None = None) -> Reference:
    """Measure a model's bytes on disk and in memory, and its decoding speed."""
    with joined(run):
        return footprint_stage(parameters).reference
