"""A matrix as text: what came out, then the values of the first heat map's cells."""

import pyarrow as pa

from optishear.evidence.evidence import Evidence
from optishear.markdown import plain
from optishear.report.formatting import number
from optishear.report.heat_map import cell_words


def markdown(evidence: Evidence) -> str:
    """The verdict, the remarks, and the first measure of the table as a Markdown table of rows and columns."""
    header, *rows = value_rows(evidence.table)
    measure = evidence.table.column_names[2]
    lines = [evidence.verdict, *evidence.remarks, "", f"{measure.capitalize()}, lower is better:", ""]
    lines.append("| " + " | ".join(map(plain, header)) + " |")
    lines.append("| --- |" + " ---: |" * (len(header) - 1))
    lines += ["| " + " | ".join(map(plain, row)) + " |" for row in rows]
    return "\n".join(lines)


def value_rows(table: pa.Table) -> list[list[str]]:
    """The third column of a long table, laid out by the first two: a header, then one list of cells for each row."""
    first, second, measure = table.column_names[:3]
    cells = {(row[first], row[second]): row[measure] for row in table.to_pylist()}
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    return [
        ["", *columns],
        *([row, *(_words(cells.get((row, column))) for column in columns)] for row in rows),
    ]


def _words(value: float | None) -> str:
    return cell_words(None) if value is None else number(value)
