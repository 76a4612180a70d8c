"""The report page: one HTML file that needs nothing else, no network and no scripts."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from optishear.files import write_text
from optishear.recipes.recipe import Recipe
from optishear.report.export import inline_svg
from optishear.report.figures import ReportFigure
from optishear.report.formatting import sparsity_words
from optishear.report.style import DARK, LIGHT
from optishear.report.tables import (
    footprint_device,
    footprint_rows,
    footprint_verdict,
    objective_rows,
    prior_rows,
    score_columns,
    score_rows,
    settings_words,
    stage_rows,
)
from optishear.report.verdict import verdict
from optishear.run_metrics.schema import RunMetrics


def write_report(
    path: Path, metrics: RunMetrics, recipe: Recipe, figures: Iterable[ReportFigure], command: str
) -> None:
    """Write the report of a run to an HTML file, whole or not at all.

    Args:
        path: the file.
        metrics: of the run; the report says of whatever was not measured that it was not.
        recipe: the searched recipe.
        figures: the run's, as ``run_figures`` makes them.
        command: the command line that does the run again.

    Raises:
        InputError: if the folder cannot be written.
    """
    write_text(Path(path), report(metrics, recipe, figures, command))


def report(metrics: RunMetrics, recipe: Recipe, figures: Iterable[ReportFigure], command: str) -> str:
    """The report as text; the arguments are those of ``write_report``. Everything but the figures is escaped."""
    return render(
        "report.html",
        title=f"{metrics.model}, {sparsity_words(recipe.sparsity, recipe.dense_share)}",
        model=metrics.model,
        verdict=verdict(metrics, recipe.sparsity),
        columns=score_columns(metrics),
        scores=score_rows(metrics),
        settings=settings_words(metrics),
        figures=figures_as_svg(figures),
        formulas={key: str(metric) for key, metric in recipe.metrics.items()},
        recipe=recipe.to_yaml(),
        stages=stage_rows(metrics),
        objectives=objective_rows(metrics),
        priors=prior_rows(metrics),
        footprints=footprint_rows(metrics),
        footprint_device=footprint_device(metrics),
        footprint_verdict=footprint_verdict(metrics),
        command=command,
    )


def render(template: str, **values: Any) -> str:
    """A page from one of the templates beside this module, which all share ``page.html`` with its style sheet."""
    folder = files("optishear.report").joinpath("templates")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(light=LIGHT.inks(), dark=DARK.inks(), **values)


def figures_as_svg(figures: Iterable[ReportFigure]) -> list[dict[str, str]]:
    """The figures as elements of the page, which follow its theme."""
    return [
        {
            "name": figure.name,
            "title": figure.title,
            "svg": Markup(inline_svg(figure.drawing, figure.name)),
            "caption": figure.caption,
        }
        for figure in figures
    ]
