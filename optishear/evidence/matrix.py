"""A matrix of measured values: rows are recipes or ratios, columns are models, texts or metrics."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

Cell = tuple[str, str]
# Two values within this relative difference are level; two runs of one method differ by as much.
LEVEL = 0.005
LEVEL_WORDS = f"within {100 * LEVEL:g} %"


@dataclass(frozen=True)
class Matrix:
    """Measured values by row and column; failed cells have a reason instead.

    Attributes:
        rows: names, in order.
        columns: names, in order.
        values: by row and column; smaller is better.
        failures: the reason for each cell without a value.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Mapping[Cell, float]
    failures: Mapping[Cell, str]

    def row(self, name: str) -> dict[str, float]:
        """The values of a row, by column; failed cells are left out."""
        return {column: self.values[name, column] for column in self.columns if (name, column) in self.values}

    def relative(self, reference: Callable[[str], float | None], rows: tuple[str, ...] | None = None) -> "Matrix":
        """Each value as a multiple of its column's reference.

        Args:
            reference: a column's value to compare with; ``None`` if it was not measured.
            rows: selected rows; by default all.
        """
        names = self.rows if rows is None else rows
        values = {}
        failures = {}
        for row in names:
            for column in self.columns:
                divisor = reference(column)
                if (row, column) in self.failures:
                    failures[row, column] = self.failures[row, column]
                elif divisor is None:
                    failures[row, column] = "its column's reference is missing"
                else:
                    value = self.values[row, column]
                    values[row, column] = value / divisor if math.isfinite(divisor) else math.nan
        return Matrix(names, self.columns, values, failures)

    def of(self, row: str, column: str) -> float | None:
        """One value, or ``None`` if its cell failed."""
        return self.values.get((row, column))


@dataclass(frozen=True)
class Scores:
    """Further scores of a matrix's cells, such as those of tasks.

    Attributes:
        values: by name and cell.
        failures: the reason for each cell that lacks one of them.
    """

    values: Mapping[str, Mapping[Cell, float]] = field(default_factory=dict)
    failures: Mapping[Cell, str] = field(default_factory=dict)


NO_SCORES = Scores()


def is_level(multiple: float) -> bool:
    """Whether a multiple of a reference is within ``LEVEL`` of 1."""
    return abs(multiple - 1) <= LEVEL


def matrix_table(
    names: tuple[str, str],
    measure: str,
    matrix: Matrix,
    relatives: Mapping[str, Matrix],
    scores: Scores = NO_SCORES,
) -> pa.Table:
    """One row per cell: the two names, the value, its multiples of the references, and what is missing and why.

    Args:
        names: kinds of rows and columns, the first two column names.
        measure: name of the values, the third column name.
        matrix: the values.
        relatives: by column name, matrices over the same columns; null for missing rows.
        scores: further scores of the cells, one column each.
    """
    cells = [(row, column) for row in matrix.rows for column in matrix.columns]
    columns: dict[str, pa.Array] = {
        names[0]: pa.array([row for row, _ in cells], pa.string()),
        names[1]: pa.array([column for _, column in cells], pa.string()),
        measure: pa.array([matrix.values.get(cell) for cell in cells], pa.float64()),
    }
    for name, relative in relatives.items():
        columns[name] = pa.array([relative.values.get(cell) for cell in cells], pa.float64())
    for name, values in scores.values.items():
        columns[name] = pa.array([values.get(cell) for cell in cells], pa.float64())
    failures = {**scores.failures, **matrix.failures}
    columns["failure"] = pa.array([failures.get(cell) for cell in cells], pa.string())
    return pa.table(columns)


def geometric_mean(values: list[float]) -> float | None:
    """The mean of ratios; ``None`` for an empty list, infinite or not a number if one of the values is."""
    if not values:
        return None
    if any(not math.isfinite(value) for value in values):
        return math.nan if any(math.isnan(value) for value in values) else math.inf
    return math.exp(sum(map(math.log, values)) / len(values))
