"""The flow that judges the recipe found on each of several calibration texts on every one of them."""

from collections.abc import Callable, Mapping
from functools import partial

from prefect import flow

from flows.cells import make_cells
from flows.checks import check, texts_by_name
from flows.layout import output_folder
from flows.matrix import conclude_matrix, save_recipes, subject_of
from optishear.evidence.crossed import DENSE, WANDA, crossed_evidence
from optishear.evidence.matrix import Cell, Matrix
from optishear.parameters import CrossTaskStage
from optishear.recipe import Recipe, named_recipe
from tasks.held_back import hold_back
from tasks.judge import judge_stage, load_perplexity
from tasks.runs import tracked_run
from tasks.search import load_recipe, search_stage
from tasks.statistics import statistics_stage
from tasks.store import Artifact

TABLE = "cross-task"


@flow(name="cross-task")
def cross_task(parameters: CrossTaskStage) -> str:
    """Write ``cross-task.parquet``, its heat maps and page, and the recipes; returns what came out and where it is."""
    with output_folder(parameters.output) as output:
        check(parameters)
        with tracked_run("cross-task", parameters) as run:
            texts = {
                name: parameters.model_copy(update={"calibration": source})
                for name, source in texts_by_name(parameters).items()
            }
            cells: dict[Cell, Callable[[], Artifact]] = {
                (row, column): partial(_cell, texts, row, column) for column in texts for row in (DENSE, WANDA, *texts)
            }
            made = make_cells(cells, parameters.parallel_cells)
            values = {cell: load_perplexity(artifact) for cell, artifact in made.made.items()}
            matrix = Matrix((*texts, WANDA, DENSE), tuple(texts), values, made.failures)
            subject = subject_of(parameters, parameters.sparsity)
            evidence = crossed_evidence(subject, matrix, tuple(texts), "text", by_complexity=True)
            searched = [row for row in texts if any(cell[0] == row for cell in made.made)]
            save_recipes(output, {row: _found(texts, row) for row in searched})
            summary = conclude_matrix(TABLE, parameters, output, run, evidence)
            made.raise_if_incomplete()
            return summary


def _cell(texts: Mapping[str, CrossTaskStage], row: str, column: str) -> Artifact:
    """The perplexity on one text of the model: dense, or pruned by another one's recipe, or by Wanda on this one."""
    judged = hold_back(texts[column], column)
    if row == DENSE:
        return judge_stage.labelled(f"judge dense on {column}")(texts[column], judged)
    source = column if row == WANDA else row
    here = texts[source]
    _, observed = _observe(source, here)
    recipe = named_recipe("wanda", here.sparsity) if row == WANDA else _found(texts, row)
    return judge_stage.labelled(f"judge {row} recipe on {column}")(here, judged, recipe, observed)


def _observe(name: str, parameters: CrossTaskStage) -> tuple[Artifact, Artifact]:
    """The blocks of one text and what the dense model does on them; cached."""
    blocks = hold_back(parameters, name)
    return blocks, statistics_stage.labelled(f"statistics {name}")(parameters, blocks)


def _found(texts: Mapping[str, CrossTaskStage], row: str) -> Recipe:
    """The recipe found on one text; cached."""
    here = texts[row]
    return load_recipe(search_stage.labelled(f"search on {row}")(here, *_observe(row, here)))


if __name__ == "__main__":
    from flows.cli import main_of

    main_of("cross-task")
