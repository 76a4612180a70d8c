"""A matrix of measured values: rows are what was applied, columns what it was applied to."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa

Cell = tuple[str, str]


@dataclass(frozen=True)
class Matrix:
    """Measured values by row and column; a cell that could not be measured says why.

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
            reference: a column's value to compare with; ``None`` where it was not measured.
            rows: which rows; all where not given.
        """
        chosen = self.rows if rows is None else rows
        values = {}
        failures = {}
        for row in chosen:
            for column in self.columns:
                divisor = reference(column)
                if (row, column) in self.failures:
                    failures[row, column] = self.failures[row, column]
                elif divisor is None:
                    failures[row, column] = "its column's reference is missing"
                else:
                    value = self.values[row, column]
                    values[row, column] = value / divisor if math.isfinite(divisor) else math.nan
        return Matrix(chosen, self.columns, values, failures)

    def of(self, row: str, column: str) -> float | None:
        """One value, or ``None`` where its cell failed."""
        return self.values.get((row, column))


def matrix_table(
    names: tuple[str, str],
    measure: str,
    matrix: Matrix,
    relatives: Mapping[str, Matrix],
    more: Mapping[str, Mapping[Cell, float]] | None = None,
) -> pa.Table:
    """One row per cell: the two names, the value, its multiples of the references, and why it is missing.

    Args:
        names: what rows and columns are, the first two column names.
        measure: what the values are, the third.
        matrix: the values.
        relatives: by column name, matrices over the same columns; a row that one lacks has nulls there.
        more: further values of the cells, by column name.
    """
    cells = [(row, column) for row in matrix.rows for column in matrix.columns]
    columns: dict[str, pa.Array] = {
        names[0]: pa.array([row for row, _ in cells], pa.string()),
        names[1]: pa.array([column for _, column in cells], pa.string()),
        measure: pa.array([matrix.values.get(cell) for cell in cells], pa.float64()),
    }
    for name, relative in relatives.items():
        columns[name] = pa.array([relative.values.get(cell) for cell in cells], pa.float64())
    for name, values in (more or {}).items():
        columns[name] = pa.array([values.get(cell) for cell in cells], pa.float64())
    columns["failure"] = pa.array([matrix.failures.get(cell) for cell in cells], pa.string())
    return pa.table(columns)


def geometric_mean(values: list[float]) -> float | None:
    """The mean of ratios; ``None`` of none, infinite or not a number where one of them is."""
    if not values:
        return None
    if any(not math.isfinite(value) for value in values):
        return math.nan if any(math.isnan(value) for value in values) else math.inf
    return math.exp(sum(map(math.log, values)) / len(values))
