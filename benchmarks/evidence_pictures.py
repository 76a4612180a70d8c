"""The pictures of the evidence page, for light and for dark, each with its title and caption above it."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from optishear.diagnosis.diagnosis import Diagnosis
from optishear.file_names import METRICS
from optishear.files import write_text
from optishear.pattern import parse_pattern
from optishear.recipes.recipe import Recipe
from optishear.report.algorithms import algorithms
from optishear.report.export import themed_svg
from optishear.report.figures import run_figures
from optishear.report.objectives import objective_label
from optishear.report.sparsity_curve import perplexity_by_sparsity
from optishear.report.sweep import SweepCell
from optishear.run_metrics.file import read_metrics
from optishear.run_metrics.schema import RunMetrics, SweepMetrics

# The default objective of the searches of the comparison.
_OBJECTIVE = "kl"


def command_pictures(folder: Path, data: Path) -> list[str]:
    """The pictures of a command's results, drawn or copied to ``data``; as paragraphs of Markdown.

    Those of the matrices are beside their tables, with their words in ``figures.json``.
    """
    paragraphs = []
    if (folder / "algorithms.parquet").exists():
        drawing = algorithms(pq.read_table(folder / "algorithms.parquet"), _OBJECTIVE)
        caption = (
            f"The best {objective_label(_OBJECTIVE)} after each trial, lower is better: the median over the seeds, "
            "with a band from the best to the worst."
        )
        paragraphs += _draw(drawing, "The algorithms, trial by trial", caption, data / "algorithms.svg", data)
    if (folder / "sweep.parquet").exists():
        sweep = read_metrics(folder / METRICS, SweepMetrics)
        cells = [SweepCell(parse_pattern(sparsity), metrics) for sparsity, metrics in sweep.sparsities.items()]
        caption = (
            "How the perplexity grows with the share of weights that are zero, for Wanda and for the searched recipes. "
            "Hollow points are N:M patterns; the dashed line is the dense model."
        )
        drawing = perplexity_by_sparsity(cells)
        paragraphs += _draw(drawing, "Perplexity against sparsity", caption, data / "sweep.svg", data)
    if (folder / "figures.json").exists():
        for picture in json.loads((folder / "figures.json").read_text(encoding="utf-8")):
            shutil.copyfile(folder / picture["file"], data / picture["file"])
            paragraphs += _words(picture["title"], picture["caption"], picture["file"])
    return paragraphs


def run_pictures(results: Path, place: Path, data: Path) -> list[str]:
    """The pictures of one pruned model.

    Args:
        results: what ``run`` or ``transfer`` laid out.
        place: where the pictures go.
        data: what their links are relative to.
    """
    metrics = read_metrics(results / METRICS, RunMetrics)
    trials = pq.read_table(results / "trials.parquet") if (results / "trials.parquet").exists() else pa.table({})
    recipe, diagnosis = Recipe.load(results / "recipe.yaml"), Diagnosis.load(results / "diagnosis")
    return [
        paragraph
        for figure in run_figures(metrics, recipe, trials, diagnosis)
        for paragraph in _draw(figure.drawing, figure.title, figure.caption, place / f"{figure.name}.svg", data)
    ]


def _draw(drawing: Figure, title: str, caption: str, file: Path, data: Path) -> list[str]:
    write_text(file, themed_svg(drawing))
    return _words(title, caption, file.relative_to(data).as_posix())


def _words(title: str, caption: str, path: str) -> list[str]:
    return [f"**{title}.** {caption}", f"![{title}]({path})"]
