"""Search on each of several models, and apply each recipe to every model.

Writes cross-model.parquet (one row for each pair), a page, heat maps against each model's Wanda and against its
own recipe, and recipes/ to --output. With --universal, one recipe is searched for all models at once and
compared with them. Models may differ in size and family: layer ratios are mapped by relative depth.

\b
Example:
  optishear cross-model --model HuggingFaceTB/SmolLM2-135M --other-models Qwen/Qwen3-0.6B --output crossed
"""

from collections.abc import Callable, Mapping
from functools import partial

from flows.parameters.cross_model import CrossModelParameters
from flows.shared.checks import check
from flows.shared.matrix_cells import make_cells
from flows.shared.matrix_names import models_by_name
from flows.shared.matrix_results import perplexities, publish_matrix, subject_of, task_scores
from flows.shared.output_folder import output_folder
from flows.shared.recipes import wanda_of
from flows.shared.titled_flow import titled_flow
from optishear.evidence.crossed import DENSE, UNIVERSAL, WANDA, crossed_evidence
from optishear.evidence.matrix import Cell, Matrix
from optishear.recipes.recipe import Recipe
from tasks.engine.parameter_groups import part, with_absolute_paths
from tasks.engine.precision import precision_of
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.evaluate import evaluate_stage, forget_failures
from tasks.stages.parameters import EvaluateStageParameters, SearchStageParameters
from tasks.stages.search import load_recipe, search_stage
from tasks.stages.statistics import statistics_stage
from tasks.stages.universal_search import MemberArtifacts, universal_search_stage
from tasks.store.artifacts import Artifact
from tasks.tracking.flow_runs import tracked_run

TABLE = "cross-model"


@titled_flow("cross-model")
def cross_model(parameters: CrossModelParameters) -> str:
    """Write ``cross-model.parquet``, its heat maps and page, and the recipes; returns the summary."""
    with output_folder("cross-model", parameters) as output:
        check(parameters)
        with tracked_run("cross-model", parameters, precision_of(parameters)) as run:
            models = {
                name: parameters.model_copy(update={"model": model})
                for name, model in models_by_name(parameters).items()
            }
            sources = (*models, *([UNIVERSAL] if parameters.universal else []))
            cells: dict[Cell, Callable[[], Artifact]] = {
                (row, column): partial(_cell, parameters, models, row, column)
                for column in models
                for row in (DENSE, WANDA, *sources)
            }
            outcome = make_cells(cells, parameters.parallel_cells)
            matrix = Matrix((*sources, WANDA, DENSE), tuple(models), perplexities(outcome), outcome.failures)
            tasks = task_scores(outcome)
            subject = subject_of(parameters, parameters.sparsity, f"{len(models)} models")
            evidence = crossed_evidence(subject, matrix, tuple(models), "model", tasks=tasks)
            searched = [row for row in sources if any(cell[0] == row for cell in outcome.artifacts)]
            recipes = {row: _recipe_of(parameters, models, row) for row in searched}
            summary = publish_matrix(TABLE, parameters, output, run, evidence, recipes)
            forget_failures(outcome.artifacts.values())
            outcome.raise_if_incomplete(tasks)
            return summary


def _cell(
    parameters: CrossModelParameters, models: Mapping[str, CrossModelParameters], row: str, column: str
) -> Artifact:
    """The evaluation of a model: dense, or pruned by another model's recipe, its own, the universal one or Wanda's."""
    there = models[column]
    evaluated = part(there, EvaluateStageParameters)
    if row == DENSE:
        return evaluate_stage.labelled(f"evaluate dense {column}")(evaluated)
    _, statistics = _observe(column, there)
    recipe = wanda_of(there) if row == WANDA else _recipe_of(parameters, models, row)
    return evaluate_stage.labelled(f"evaluate {row} recipe on {column}")(evaluated, recipe, statistics)


def _recipe_of(parameters: CrossModelParameters, models: Mapping[str, CrossModelParameters], row: str) -> Recipe:
    """The recipe searched on one model, or on all; cached."""
    if row == UNIVERSAL:
        return load_recipe(_search_universal(parameters, models))
    here = models[row]
    return load_recipe(search_stage.labelled(f"search on {row}")(here, *_observe(row, here)))


def _observe(name: str, parameters: CrossModelParameters) -> tuple[Artifact, Artifact]:
    """Calibration and statistics of one model; cached, so that every cell can call this."""
    calibration = calibrate_stage.labelled(f"calibrate {name}")(parameters)
    return calibration, statistics_stage.labelled(f"statistics {name}")(parameters, calibration)


def _search_universal(parameters: CrossModelParameters, models: Mapping[str, CrossModelParameters]) -> Artifact:
    members = {}
    for name, settings in models.items():
        calibration, statistics = _observe(name, settings)
        members[name] = MemberArtifacts(
            parameters=with_absolute_paths(part(settings, SearchStageParameters)),
            calibration=calibration.reference,
            statistics=statistics.reference,
        )
    return universal_search_stage.labelled("search on all models")(part(parameters, SearchStageParameters), members)
