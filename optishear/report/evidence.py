"""The page of a matrix: verdict, values, heat maps and command line, in one HTML file."""

from pathlib import Path

from optishear.evidence.evidence import Evidence
from optishear.files import write_text
from optishear.report.figures import ReportFigure
from optishear.report.heat_map import heat_map
from optishear.report.html import figures_as_svg, render
from optishear.report.matrix_table import value_rows


def write_page(path: Path, evidence: Evidence, command: str) -> None:
    """Write the page to a file, whole or not at all.

    Args:
        path: the file.
        evidence: the evaluated matrix.
        command: command line of the run.

    Raises:
        InputError: if the folder cannot be written.
    """
    write_text(path, page(evidence, command))


def page(evidence: Evidence, command: str) -> str:
    """The page as text; the arguments are those of ``write_page``. Everything but the figures is escaped."""
    header, *rows = value_rows(evidence.table)
    return render(
        "evidence.html",
        title=evidence.subject,
        evidence=evidence,
        measure=evidence.table.column_names[2],
        header=header,
        rows=rows,
        figures=figures_as_svg(
            ReportFigure(map_.name, map_.question, heat_map(map_.matrix, map_.title, map_.across), map_.caption)
            for map_ in evidence.maps
        ),
        command=command,
    )
