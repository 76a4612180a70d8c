"""The flow that combines a recipe's layer ratios with other metrics, beside other methods' ratios."""

from collections.abc import Callable
from functools import partial

from prefect import flow

from flows.cells import make_cells
from flows.checks import check
from flows.layout import output_folder
from flows.matrix import conclude_matrix, perplexities, subject_of, task_scores
from optishear.evidence.matrix import Cell, Matrix
from optishear.evidence.transplant import SEARCHED, UNIFORM, transplant_evidence
from optishear.parameters import EvaluateStage, TransplantStage
from optishear.ratios.allocate import RATIO_METHODS
from optishear.recipe import Recipe, find_recipe, named_recipe
from tasks.calibrate import calibrate_stage
from tasks.evaluate import evaluate_stage, forget_failures
from tasks.gradients import observe
from tasks.parts import part
from tasks.ratios import load_ratios, ratios_stage
from tasks.runs import tracked_run
from tasks.store import Artifact

OWN = "recipe"


@flow(name="transplant")
def transplant(parameters: TransplantStage) -> str:
    """Write ``transplant.parquet``, its heat map and page; returns what came out and where it is."""
    with output_folder(parameters.output) as output:
        check(parameters)
        with tracked_run("transplant", parameters) as run:
            recipe = find_recipe(parameters.recipe, "0.5")
            blocks = calibrate_stage(parameters)
            rows = tuple(dict.fromkeys([UNIFORM, *parameters.layer_ratios]))
            columns = tuple(dict.fromkeys(parameters.pruning_metrics))
            cells: dict[Cell, Callable[[], Artifact]] = {
                (ratios, metric): partial(_cell, parameters, recipe, blocks, ratios, metric)
                for metric in columns
                for ratios in rows
            }
            made = make_cells(cells, parameters.parallel_cells)
            matrix = Matrix(rows, columns, *perplexities(made))
            evidence = transplant_evidence(subject_of(parameters, recipe.sparsity), matrix, task_scores(made))
            summary = conclude_matrix("transplant", parameters, output, run, evidence)
            forget_failures(made.made.values())
            made.raise_if_incomplete()
            return summary


def _cell(parameters: TransplantStage, recipe: Recipe, blocks: Artifact, ratios: str, metric: str) -> Artifact:
    """The evaluation of one metric under one method's ratios."""
    combined = recipe if metric == OWN else named_recipe(metric, recipe.sparsity)
    curves = recipe.sparsity_ratios if ratios == SEARCHED else {}
    for method in RATIO_METHODS:
        if method == ratios:
            stage = ratios_stage.labelled(f"ratios {method}")
            curves = load_ratios(stage(parameters, observe(parameters, blocks), method, recipe.sparsity))
    if (metric, ratios) != (OWN, SEARCHED) and (metric == OWN or ratios != UNIFORM):
        # A recipe of its own: what the search has said of another one does not hold for it.
        combined = Recipe(
            name=f"{metric} with {ratios} ratios",
            sparsity=recipe.sparsity,
            metrics=combined.metrics,
            sparsity_ratios=curves,
        )
    dense = part(parameters, EvaluateStage)
    label = f"evaluate {metric} with {ratios} ratios"
    return evaluate_stage.labelled(label)(dense, combined, observe(parameters, blocks, combined))


if __name__ == "__main__":
    from flows.cli import main_of

    main_of("transplant")
