"""Combine a recipe's layer ratios with other metrics, and compare with uniform, OWL, DLP and AlphaPruning ratios.

Writes transplant.parquet (one row for each metric and ratios), .png and .html to --output. Cells are
cached; repeat the command to compute only those that failed.

\b
Example:
  optishear transplant --recipe found/recipe.yaml --model HuggingFaceTB/SmolLM2-135M --output transplanted
"""

from collections.abc import Callable
from functools import partial

from flows.parameters.transplant import TransplantParameters
from flows.shared.checks import check
from flows.shared.matrix_cells import make_cells
from flows.shared.matrix_results import perplexities, publish_matrix, subject_of, task_scores
from flows.shared.output_folder import output_folder
from flows.shared.recipes import recipe_of
from flows.shared.titled_flow import titled_flow
from optishear.evidence.matrix import Cell, Matrix
from optishear.evidence.transplant import SEARCHED, UNIFORM, transplant_evidence
from optishear.file_names import CHECKPOINT
from optishear.ratios.allocate import RATIO_METHODS
from optishear.recipes.recipe import Recipe, published_beside
from tasks.engine.parameter_groups import part
from tasks.engine.precision import precision_of
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.evaluate import evaluate_stage, forget_failures
from tasks.stages.gradients import observe
from tasks.stages.parameters import EvaluateStageParameters, ReconstructStageParameters
from tasks.stages.ratios import load_ratios, ratios_stage
from tasks.stages.reconstruct import reconstruct_stage
from tasks.store.artifacts import Artifact
from tasks.tracking.flow_runs import tracked_run

OWN = "recipe"
SPARSEGPT = "sparsegpt"


@titled_flow("transplant")
def transplant(parameters: TransplantParameters) -> str:
    """Write ``transplant.parquet``, its heat map and page; returns the summary."""
    with output_folder("transplant", parameters) as output:
        check(parameters)
        with tracked_run("transplant", parameters, precision_of(parameters)) as run:
            recipe = recipe_of(parameters)
            calibration = calibrate_stage(parameters)
            rows = tuple(dict.fromkeys([UNIFORM, *parameters.layer_ratios]))
            columns = tuple(dict.fromkeys(parameters.pruning_metrics))
            cells: dict[Cell, Callable[[], Artifact]] = {
                (ratios, metric): partial(_cell, parameters, recipe, calibration, ratios, metric)
                for metric in columns
                for ratios in rows
            }
            outcome = make_cells(cells, parameters.parallel_cells)
            matrix = Matrix(rows, columns, perplexities(outcome), outcome.failures)
            tasks = task_scores(outcome)
            evidence = transplant_evidence(subject_of(parameters, recipe.sparsity), matrix, tasks)
            summary = publish_matrix("transplant", parameters, output, run, evidence)
            forget_failures(outcome.artifacts.values())
            outcome.raise_if_incomplete(tasks)
            return summary


def _cell(
    parameters: TransplantParameters, recipe: Recipe, calibration: Artifact, ratios: str, metric: str
) -> Artifact:
    """The evaluation of one metric under one method's ratios."""
    combined = _combined(parameters, recipe, calibration, ratios, metric)
    statistics = observe(parameters, calibration, combined)
    label = f"{metric} with {ratios} ratios"
    evaluated = part(parameters, EvaluateStageParameters)
    if metric != SPARSEGPT:
        return evaluate_stage.labelled(f"evaluate {label}")(evaluated, combined, statistics)
    by_sparsegpt = part(parameters, ReconstructStageParameters, reconstruction="sparsegpt")
    pruned = reconstruct_stage.labelled(f"prune by {label}")(by_sparsegpt, combined, calibration, statistics)
    evaluated = part(parameters, EvaluateStageParameters, model=str(pruned.path(CHECKPOINT)))
    return evaluate_stage.labelled(f"evaluate {label}")(evaluated)


def _combined(
    parameters: TransplantParameters, recipe: Recipe, calibration: Artifact, ratios: str, metric: str
) -> Recipe:
    """The recipe of one metric under one method's ratios. SparseGPT takes from it the ratios alone."""
    if metric == OWN:
        if ratios == SEARCHED:
            return recipe
        metrics = recipe.metrics
    else:
        published = published_beside("wanda" if metric == SPARSEGPT else metric, recipe)
        if ratios == UNIFORM:
            return published
        metrics = published.metrics
    curves = recipe.sparsity_ratios if ratios == SEARCHED else {}
    for method in RATIO_METHODS:
        if method == ratios:
            stage = ratios_stage.labelled(f"ratios {method}")
            curves = load_ratios(
                stage(parameters, observe(parameters, calibration), method, recipe.sparsity, recipe.selection)
            )
    # A new recipe, without the objectives that the search measured for the original one.
    name = f"{metric} with {ratios} ratios"
    # The family is kept: it shows whether unknown paths are those of another family.
    origin = {key: value for key, value in recipe.origin.items() if key == "model_type"}
    changes = {"name": name, "metrics": metrics, "sparsity_ratios": curves, "objectives": {}, "origin": origin}
    return recipe.model_copy(update=changes)
