"""Shared by the flows over a matrix: read the cells; lay out, register and show the results."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.shared.matrix_cells import Cells
from flows.shared.output_folder import place_files
from flows.shared.prefect_page import show_results
from flows.shared.summary import where
from optishear.evaluation.harness import failure_of, measures_of
from optishear.evidence.evidence import Evidence
from optishear.evidence.matrix import Cell, Scores
from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.roles import without_places
from optishear.pattern import Pattern
from optishear.recipes.recipe import Recipe
from optishear.report.formatting import sparsity_words
from optishear.report.matrix_table import markdown
from optishear.report.reproduce import command_line
from tasks.registration.results import Attachments, register
from tasks.stages.evaluate import evaluation_of
from tasks.stages.matrix_report import matrix_report_stage
from tasks.store.artifacts import RECORD
from tasks.store.model_sources import find_model
from tasks.tracking.mlflow_run import TrackedRun


def perplexities(cells: Cells) -> dict[Cell, float]:
    """The perplexity of each evaluated cell."""
    measured = {cell: evaluation_of(artifact).perplexity for cell, artifact in cells.artifacts.items()}
    return {cell: perplexity for cell, perplexity in measured.items() if perplexity is not None}


def task_scores(cells: Cells) -> Scores:
    """The scores of the cells' lm-eval tasks, by ``TASK/METRIC``, and the first reason where tasks failed."""
    scores: dict[str, dict[Cell, float]] = {}
    failures: dict[Cell, str] = {}
    for cell, artifact in cells.artifacts.items():
        for task, result in evaluation_of(artifact).tasks.items():
            failure = failure_of(result)
            if failure is not None:
                failures.setdefault(cell, f"{task}: {failure}")
            for metric, measure in measures_of(result).items():
                scores.setdefault(f"{task}/{metric}", {})[cell] = measure["value"]
    return Scores(scores, failures)


def subject_of(parameters: ModelParameters, sparsity: Pattern, models: str = "") -> str:
    """The subject of the matrix, for headings: the model, or ``models`` instead, and the sparsity."""
    name = models or find_model(parameters.model).public_name.removeprefix("package:")
    return f"{name}, {sparsity_words(sparsity)}"


def publish_matrix(
    name: str,
    parameters: Parameters,
    output: Path,
    run: TrackedRun,
    evidence: Evidence,
    recipes: Mapping[str, Recipe] | None = None,
) -> str:
    """Report a matrix, put its files into the output folder, register and show them.

    Args:
        name: of the files.
        parameters: of the flow.
        output: folder for the results.
        run: the MLflow run.
        evidence: the evaluated matrix.
        recipes: recipes of its rows by the row's name, which are written to ``recipes/``.

    Returns:
        The printed summary.
    """
    report = matrix_report_stage(parameters, name, evidence, recipes or {}, command_line(name, parameters))
    names = sorted({Path(file).parts[0] for file in report.outputs} - {RECORD})
    place_files(output, {file: report.path(file) for file in names})
    figures = [output / file for file in names if file.endswith(".png")]
    table, page = output / f"{name}.parquet", output / f"{name}.html"
    text = markdown(evidence)
    register(
        run,
        without_places(parameters),
        _metrics(evidence),
        Attachments(tags={"mlflow.note.content": text}, files={"": [table, page], "figures": figures}),
    )
    show_results(name, text, evidence.subject, figures)
    return f"{text}\n\n{where(output, {'page': page.name, 'table': table.name}, run)}"


def _metrics(evidence: Evidence) -> dict[str, float]:
    """Each finite value of the table under ``ROW/COLUMN/NAME``."""
    rows: list[dict[str, Any]] = evidence.table.to_pylist()
    first, second = evidence.table.column_names[:2]
    return {
        f"{row[first]}/{row[second]}/{name}": value
        for row in rows
        for name, value in row.items()
        if isinstance(value, float) and math.isfinite(value)
    }
