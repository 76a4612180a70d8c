"""Recipes searched in one place and applied in another: across models, and across calibration texts."""

import math
import operator
from collections.abc import Iterable

from optishear.errors import InputError
from optishear.evidence.evidence import Evidence, HeatMap, failures_remarks, times
from optishear.evidence.matrix import (
    LEVEL,
    LEVEL_WORDS,
    NO_SCORES,
    Matrix,
    Scores,
    geometric_mean,
    is_level,
    matrix_table,
)

WANDA = "Wanda"
UNIVERSAL = "universal"
DENSE = "dense"
_ROWS = (UNIVERSAL, WANDA, DENSE)


def check_places(names: Iterable[str], what: str) -> None:
    """Refuse places with the name of a fixed row of the matrix.

    Args:
        names: names of the places.
        what: kind of place in the singular: ``model`` or ``text``.

    Raises:
        InputError: names the first such place.
    """
    for name in names:
        if name in _ROWS:
            raise InputError(f"A {what} of the matrix is named {name!r}, as one of its own rows is; rename it.")


def crossed_evidence(
    subject: str,
    matrix: Matrix,
    places: tuple[str, ...],
    what: str,
    by_complexity: bool = False,
    tasks: Scores = NO_SCORES,
) -> Evidence:
    """Evaluate a matrix with recipes by their place of search as rows and the places of application as columns.

    Args:
        subject: title of the evidence.
        matrix: perplexities. Rows: ``places``, then perhaps ``UNIVERSAL``, then ``WANDA`` at the column's own
            calibration, then ``DENSE``. Columns: ``places``.
        places: places of search and application.
        what: kind of place in the singular: ``model`` or ``text``.
        by_complexity: also compare transfer from complex to simple places and back, by the dense model's perplexity.
            Only for one dense model, since perplexities of different models are not comparable.
        tasks: task scores of the cells.
    """
    pruned = tuple(row for row in matrix.rows if row != DENSE)
    recipes = tuple(row for row in pruned if row != WANDA)
    to_wanda = matrix.relative(lambda column: matrix.of(WANDA, column), recipes)
    to_own = matrix.relative(lambda column: matrix.of(column, column), pruned)
    relatives = {"to_wanda": to_wanda, "to_own": to_own}
    table = matrix_table(("found_on", "applied_to"), "perplexity", matrix, relatives, tasks)
    own = [value for place in places if (value := to_wanda.of(place, place)) is not None]
    transferred = list(_off_diagonal(to_wanda, places))
    verdict = (
        f"A recipe found on another {what} gives {times(geometric_mean(transferred))} Wanda's perplexity on average, "
        f"its own recipe {times(geometric_mean(own))}."
    )
    return Evidence(
        subject,
        verdict,
        (
            *_remarks(to_wanda, to_own, places),
            *(_on_complexity(matrix, to_own, places, what) if by_complexity else ()),
            *failures_remarks(matrix, tasks),
        ),
        table,
        (
            HeatMap(
                "to-wanda",
                to_wanda,
                "Against Wanda",
                f"perplexity as a multiple of Wanda's on the same {what}",
                f"applied to this {what}",
                f"Each row is a recipe by the {what} that it was found on; below 1 it is better than Wanda, which is "
                f"calibrated on the {what} it is applied to.",
            ),
            HeatMap(
                "to-own",
                to_own,
                f"Against the {what}'s own recipe",
                f"perplexity as a multiple of that of the {what}'s own recipe",
                f"applied to this {what}",
                f"What is lost, or gained, against a search on the {what} itself.",
            ),
        ),
    )


def _off_diagonal(matrix: Matrix, places: tuple[str, ...]) -> Iterable[float]:
    return (
        value for row in places for column in places if row != column and (value := matrix.of(row, column)) is not None
    )


def _remarks(to_wanda: Matrix, to_own: Matrix, places: tuple[str, ...]) -> tuple[str, ...]:
    transferred = list(_off_diagonal(to_wanda, places))
    remarks = []
    if transferred:
        level = sum(map(is_level, transferred))
        better = sum(value < 1 - LEVEL for value in transferred)
        remarks.append(
            f"Of {len(transferred)} pairs it is better than Wanda in {better}, level ({LEVEL_WORDS}) in {level} and "
            f"worse in {len(transferred) - better - level}."
        )
    means = {
        row: mean
        for row in places
        if (mean := geometric_mean([v for column, v in to_own.row(row).items() if column != row])) is not None
    }
    if len(means) > 1:
        best, worst = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
        remarks.append(
            f"Recipes found on {best} carry over best ({times(means[best])} the perplexity of the others' own recipes "
            f"on average), those found on {worst} least well ({times(means[worst])})."
        )
    universal = to_own.row(UNIVERSAL) if UNIVERSAL in to_own.rows else {}
    if universal:
        furthest = max(universal, key=universal.__getitem__)
        against = to_wanda.row(UNIVERSAL)
        remarks.append(
            f"One recipe searched for all is {times(universal[furthest])} the own recipe's perplexity at worst "
            f"({furthest}), {times(geometric_mean(list(universal.values())))} on average, and "
            f"{times(max(against.values(), default=None))} Wanda's at worst."
        )
    return tuple(remarks)


def _on_complexity(matrix: Matrix, to_own: Matrix, places: tuple[str, ...], what: str) -> tuple[str, ...]:
    """Compare the transfer of recipes from complex to simple places and back.

    The dense model's perplexity is the measure of complexity.
    """
    dense = {
        place: value for place in places if (value := matrix.of(DENSE, place)) is not None and math.isfinite(value)
    }
    down, up = (
        [
            value
            for row in dense
            for column in dense
            if is_carried(dense[row], dense[column]) and (value := to_own.of(row, column)) is not None
        ]
        for is_carried in (operator.gt, operator.lt)
    )
    if not down and not up:
        return ()
    order = ", ".join(f"{place} ({dense[place]:.1f})" for place in sorted(dense, key=dense.__getitem__, reverse=True))
    return (
        f"From complex to simple, by the dense model's perplexity, the {what}s are {order}. Recipes of a more complex "
        f"{what} give a simpler one {times(geometric_mean(down))} the perplexity of its own on average, recipes of a "
        f"simpler {what} a more complex one {times(geometric_mean(up))}.",
    )
