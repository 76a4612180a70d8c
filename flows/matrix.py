"""What the flows over a matrix share: reading its cells, and laying out, registering and showing what they say."""

import base64
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prefect.artifacts import create_image_artifact, create_markdown_artifact

from flows.cells import Cells
from flows.summary import where
from optishear.evidence.evidence import Evidence
from optishear.evidence.matrix import Cell
from optishear.files import write_aside
from optishear.parameters import ModelParameters, Parameters
from optishear.pattern import parse_pattern
from optishear.recipe import Recipe
from optishear.report.evidence import write_page
from optishear.report.export import png
from optishear.report.heat_map import heat_map
from optishear.report.matrix_table import markdown
from optishear.report.reproduce import command_line
from optishear.report.words import sparsity_words
from tasks.evaluate import EVALUATION
from tasks.register_matrix import register_matrix
from tasks.sources import find_model
from tasks.tracked import TrackedRun
from tasks.tracking import PLACES


def perplexities(cells: Cells) -> tuple[dict[Cell, float], dict[Cell, str]]:
    """The perplexity of each evaluated cell, and why the others have none."""
    values = {}
    failures = dict(cells.failures)
    for cell, artifact in cells.made.items():
        perplexity = artifact.read_json(EVALUATION)["perplexity"]
        if perplexity is None:
            failures[cell] = "no perplexity was measured"
        else:
            values[cell] = float(perplexity)
    return values, failures


def task_scores(cells: Cells) -> dict[str, dict[Cell, float]]:
    """The scores of the cells' lm-eval tasks, by ``TASK/METRIC``; a task that failed has none."""
    scores: dict[str, dict[Cell, float]] = {}
    for cell, artifact in cells.made.items():
        for task, measures in artifact.read_json(EVALUATION)["tasks"].items():
            for measure, score in measures.items():
                if isinstance(score, dict):
                    scores.setdefault(f"{task}/{measure}", {})[cell] = float(score["value"])
    return scores


def subject_of(parameters: ModelParameters, sparsity: str, models: str = "") -> str:
    """What the matrix is about, for headings: the model, or ``models`` in place of it, and the sparsity."""
    name = models or find_model(parameters.model).public_name.removeprefix("package:")
    return f"{name}, {sparsity_words(parse_pattern(sparsity))}"


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
    figures = []
    for each in evidence.maps:
        figure = output / (f"{name}.png" if each.name == name else f"{name}-{each.name}.png")
        with write_aside(figure) as aside:
            aside.write_bytes(png(heat_map(each.matrix, each.title, each.across)))
        figures.append(figure)
    page = output / f"{name}.html"
    write_page(page, evidence, command_line(name, type(parameters), parameters.model_dump(mode="json")))
    text = markdown(evidence)
    register_matrix(
        run,
        parameters.model_dump(mode="json", exclude=PLACES),
        _metrics(evidence),
        text,
        {"": [table, page], "figures": figures},
    )
    create_markdown_artifact(text, key=name, description=evidence.subject)
    for figure in figures:
        image = base64.b64encode(figure.read_bytes()).decode()
        create_image_artifact(f"data:image/png;base64,{image}", key=figure.stem, description=figure.stem)
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
