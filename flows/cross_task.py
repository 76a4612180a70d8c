"""Search on each of several texts, and evaluate each recipe on every text.

Writes cross-task.parquet (one row for each pair), a page, heat maps against Wanda and against each text's own
recipe, and recipes/ to --output. The evaluation uses held-out text.

\b
Example:
  optishear cross-task --calibration self --other-calibrations c4=c4.jsonl,math=gsm8k.jsonl --output crossed
"""

from collections.abc import Callable, Mapping
from functools import partial

from flows.parameters.cross_task import CrossTaskParameters
from flows.shared.checks import check
from flows.shared.matrix_cells import make_cells
from flows.shared.matrix_names import texts_by_name
from flows.shared.matrix_results import publish_matrix, subject_of
from flows.shared.output_folder import output_folder
from flows.shared.recipes import wanda_of
from flows.shared.titled_flow import titled_flow
from optishear.evidence.crossed import DENSE, WANDA, crossed_evidence
from optishear.evidence.matrix import Cell, Matrix
from optishear.recipes.recipe import Recipe
from tasks.engine.precision import precision_of
from tasks.stages.evaluate_held_out import evaluate_held_out_stage, load_perplexity
from tasks.stages.held_out import hold_out
from tasks.stages.search import load_recipe, search_stage
from tasks.stages.statistics import statistics_stage
from tasks.store.artifacts import Artifact
from tasks.tracking.flow_runs import tracked_run

TABLE = "cross-task"


@titled_flow("cross-task")
def cross_task(parameters: CrossTaskParameters) -> str:
    """Write ``cross-task.parquet``, its heat maps and page, and the recipes; returns the summary."""
    with output_folder("cross-task", parameters) as output:
        check(parameters)
        with tracked_run("cross-task", parameters, precision_of(parameters)) as run:
            texts = {
                name: parameters.model_copy(update={"calibration": source})
                for name, source in texts_by_name(parameters).items()
            }
            cells: dict[Cell, Callable[[], Artifact]] = {
                (row, column): partial(_cell, texts, row, column) for column in texts for row in (DENSE, WANDA, *texts)
            }
            outcome = make_cells(cells, parameters.parallel_cells)
            values = {cell: load_perplexity(artifact) for cell, artifact in outcome.artifacts.items()}
            matrix = Matrix((*texts, WANDA, DENSE), tuple(texts), values, outcome.failures)
            subject = subject_of(parameters, parameters.sparsity)
            evidence = crossed_evidence(subject, matrix, tuple(texts), "text", by_complexity=True)
            searched = [row for row in texts if any(cell[0] == row for cell in outcome.artifacts)]
            recipes = {row: _recipe_of(texts, row) for row in searched}
            summary = publish_matrix(TABLE, parameters, output, run, evidence, recipes)
            outcome.raise_if_incomplete()
            return summary


def _cell(texts: Mapping[str, CrossTaskParameters], row: str, column: str) -> Artifact:
    """The perplexity on one text of the model: dense, pruned by another text's recipe, or by Wanda on this text."""
    held_out = hold_out(texts[column], column)
    if row == DENSE:
        return evaluate_held_out_stage.labelled(f"evaluate dense on {column}")(texts[column], held_out)
    source = column if row == WANDA else row
    here = texts[source]
    _, statistics = _observe(source, here)
    recipe = wanda_of(here) if row == WANDA else _recipe_of(texts, row)
    return evaluate_held_out_stage.labelled(f"evaluate {row} recipe on {column}")(here, held_out, recipe, statistics)


def _observe(name: str, parameters: CrossTaskParameters) -> tuple[Artifact, Artifact]:
    """The blocks of one text and the dense model's statistics on them; cached."""
    blocks = hold_out(parameters, name)
    return blocks, statistics_stage.labelled(f"statistics {name}")(parameters, blocks)


def _recipe_of(texts: Mapping[str, CrossTaskParameters], row: str) -> Recipe:
    """The recipe searched on one text; cached."""
    here = texts[row]
    return load_recipe(search_stage.labelled(f"search on {row}")(here, *_observe(row, here)))
