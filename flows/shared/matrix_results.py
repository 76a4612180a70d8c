"""What the flows over a matrix share: reading its cells, and laying out, registering and showing what they say."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flows.shared.matrix_cells import Cells
from flows.shared.prefect_page import show_results
from flows.shared.summary import where
from optishear.evidence.evidence import Evidence
from optishear.evidence.matrix import Cell, Scores
from optishear.files import write_aside, write_text
from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.roles import without_places
from optishear.pattern import Pattern
from optishear.recipes.recipe import Recipe
from optishear.report.evidence import write_page
from optishear.report.export import png, themed_svg
from optishear.report.formatting import sparsity_words
from optishear.report.heat_map import heat_map
from optishear.report.matrix_table import markdown
from optishear.report.reproduce import command_line
from tasks.registration.results import Attachments, register
from tasks.stages.evaluate import EVALUATION
from tasks.store.json_file import write_json
from tasks.store.model_sources import find_model
from tasks.tracking.mlflow_run import TrackedRun

# The captions of the heat maps, for pages that show them elsewhere.
FIGURES = "figures.json"


def perplexities(cells: Cells) -> dict[Cell, float]:
    """The perplexity of each evaluated cell."""
    return {cell: float(artifact.read_json(EVALUATION)["perplexity"]) for cell, artifact in cells.made.items()}


def task_scores(cells: Cells) -> Scores:
    """The scores of the cells' lm-eval tasks, by ``TASK/METRIC``, and the first reason where tasks failed."""
    scores: dict[str, dict[Cell, float]] = {}
    failures: dict[Cell, str] = {}
    for cell, artifact in cells.made.items():
        for task, measures in artifact.read_json(EVALUATION)["tasks"].items():
            if "error" in measures:
                failures.setdefault(cell, f"{task}: {measures['error']}")
                continue
            for measure, score in measures.items():
                scores.setdefault(f"{task}/{measure}", {})[cell] = float(score["value"])
    return Scores(scores, failures)


def subject_of(parameters: ModelParameters, sparsity: Pattern, models: str = "") -> str:
    """What the matrix is about, for headings: the model, or ``models`` in place of it, and the sparsity."""
    name = models or find_model(parameters.model).public_name.removeprefix("package:")
    return f"{name}, {sparsity_words(sparsity)}"


def save_recipes(output: Path, recipes: Mapping[str, Recipe]) -> None:
    """Write each recipe to ``recipes/``, named after where it was found."""
    for name, recipe in recipes.items():
        file = re.sub(r"[^\w.-]+", "-", name)
        recipe.save(output / "recipes" / f"{file}.yaml")


def conclude_matrix(name: str, parameters: Parameters, output: Path, run: TrackedRun, evidence: Evidence) -> str:
    """Lay out, register and show what a matrix says.

    Args:
        name: of the files.
        parameters: of the flow.
        output: folder for the results.
        run: the MLflow run.
        evidence: what was found.

    Returns:
        The summary for a person.
    """
    table = output / f"{name}.parquet"
    with write_aside(table) as aside:
        pq.write_table(evidence.table, aside)
    figures = _draw(name, output, evidence)
    page = output / f"{name}.html"
    write_page(page, evidence, command_line(name, parameters))
    text = markdown(evidence)
    register(
        run,
        without_places(parameters),
        _metrics(evidence),
        Attachments(tags={"mlflow.note.content": text}, files={"": [table, page], "figures": figures}),
    )
    show_results(name, text, evidence.subject, figures)
    return f"{text}\n\n{where(output, {'page': page.name, 'table': table.name}, run)}"


def _draw(name: str, output: Path, evidence: Evidence) -> list[Path]:
    """Write each heat map as PNG and as SVG, and their captions; returns the PNG files."""
    figures = []
    captions = []
    for each in evidence.maps:
        figure = output / (f"{name}.png" if each.name == name else f"{name}-{each.name}.png")
        drawing = heat_map(each.matrix, each.title, each.across)
        with write_aside(figure) as aside:
            aside.write_bytes(png(drawing))
        write_text(figure.with_suffix(".svg"), themed_svg(drawing))
        figures.append(figure)
        captions.append({"file": f"{figure.stem}.svg", "title": each.question, "caption": each.caption})
    write_json(output / FIGURES, captions)
    return figures


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
