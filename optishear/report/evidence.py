"""The page of a matrix: what came out, the values, the heat maps, and how to make it again, in one HTML file."""

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
        evidence: what was found.
        command: the command line that makes it again.

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
            ReportFigure(each.name, each.question, heat_map(each.matrix, each.title, each.across), each.caption)
            for each in evidence.maps
        ),
        command=command,
    )
