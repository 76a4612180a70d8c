"""The report page: one HTML file that needs nothing else, no network and no scripts."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
from markupsafe import Markup

from optishear.files import write_text
from optishear.recipe import Recipe
from optishear.report import captions
from optishear.report.comparison import comparison
from optishear.report.export import inline_svg
from optishear.report.pareto import pareto_front
from optishear.report.progress import search_progress
from optishear.report.ratios import layer_ratios
from optishear.report.reproduce import command
from optishear.report.style import DARK, LIGHT
from optishear.report.tables import objective_rows, score_rows, settings_words, stage_rows
from optishear.report.verdict import verdict
from optishear.report.words import sparsity_words


def write_report(path: Path, metrics: Mapping[str, Any], recipe: Recipe, trials: pa.Table) -> None:
    """Write the report of a run to an HTML file, whole or not at all.

    Args:
        path: the file.
        metrics: the content of ``metrics.json``; whatever is missing in it is said to be missing.
        recipe: the searched recipe.
        trials: the table of ``trials.parquet``; the search's figures are left out where it has no rows.

    Raises:
        InputError: if the folder cannot be written.
    """
    write_text(Path(path), report(metrics, recipe, trials))


def report(metrics: Mapping[str, Any], recipe: Recipe, trials: pa.Table) -> str:
    """The report as text; the arguments are those of ``write_report``. Everything but the figures is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("optishear.report").joinpath("template.html").read_text(encoding="utf-8"))
    return template.render(
        model=metrics.get("model") or "unnamed model",
        sparsity=sparsity_words(recipe.pattern),
        verdict=verdict(metrics, recipe.pattern),
        scores=score_rows(metrics),
        settings=settings_words(metrics),
        figures=_figures(metrics, recipe, trials),
        formulas={key: str(metric) for key, metric in recipe.metrics.items()},
        recipe=recipe.to_yaml(),
        stages=stage_rows(metrics),
        objectives=objective_rows(metrics),
        command=command(metrics, recipe),
        light=LIGHT.inks(),
        dark=DARK.inks(),
    )


def _figures(metrics: Mapping[str, Any], recipe: Recipe, trials: pa.Table) -> list[dict[str, str]]:
    figures = [
        ("comparison", "Against dense and Wanda", comparison(metrics), captions.comparison(metrics)),
        ("ratios", "Where the weights went", layer_ratios(recipe), captions.ratios(recipe)),
    ]
    if trials.num_rows:
        figures += [
            ("progress", "How the search went", search_progress(trials), captions.progress(trials)),
            ("pareto", "What there was to choose from", pareto_front(trials), captions.pareto(trials)),
        ]
    return [
        {"name": name, "title": title, "svg": Markup(inline_svg(figure, name)), "caption": caption}
        for name, title, figure, caption in figures
    ]
