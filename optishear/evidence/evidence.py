"""Evidence from a matrix: a verdict, remarks, a table and heat maps."""

from dataclasses import dataclass

import pyarrow as pa

from optishear.evidence.matrix import NO_SCORES, Matrix, Scores


@dataclass(frozen=True)
class HeatMap:
    """One heat map.

    Attributes:
        name: file name, in lower-case letters and dashes.
        matrix: multiples of a reference.
        question: heading, the question of the map.
        title: description of the values.
        across: description of the columns.
        caption: reading guide, in one sentence.
    """

    name: str
    matrix: Matrix
    question: str
    title: str
    across: str
    caption: str


@dataclass(frozen=True)
class Evidence:
    """The evaluation of a matrix.

    Attributes:
        subject: such as a model and a sparsity.
        verdict: the main result, in one sentence.
        remarks: further results and restrictions, in sentences.
        table: all values, one row per cell.
        maps: the heat maps, the most important first.
    """

    subject: str
    verdict: str
    remarks: tuple[str, ...]
    table: pa.Table
    maps: tuple[HeatMap, ...]


def failures_remarks(matrix: Matrix, scores: Scores = NO_SCORES) -> tuple[str, ...]:
    """Remarks on the cells that are missing and on those without all their scores, if there are any."""
    remarks = []
    for failures, one, several in (
        (matrix.failures, "cell is missing", "cells are missing"),
        (scores.failures, "cell lacks a task's score", "cells lack a task's score"),
    ):
        if failures:
            (row, column), reason = next(iter(failures.items()))
            count = len(failures)
            remarks.append(f"{count} {several if count > 1 else one}, the first {row} × {column}: {reason}.")
    return tuple(remarks)


def times(value: float | None) -> str:
    """Format a multiple for a sentence."""
    if value is None:
        return "an unknown multiple of"
    return "infinitely many times" if value == float("inf") else f"{value:.3f} times"
