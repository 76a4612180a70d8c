"""Recipes found in one place and applied in another: across models, and across calibration texts."""

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
    """Refuse places that rows of the matrix are named like, which are no recipes found in one place.

    Args:
        names: of the places.
        what: what the places are, in the singular: ``model`` or ``text``.

    Raises:
        InputError: naming the first.
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
    """Read a matrix whose rows are recipes by where they were found, and whose columns are where they were applied.

    Args:
        subject: what it is about.
        matrix: perplexities. Rows: ``places``, then perhaps ``UNIVERSAL``, then ``WANDA`` at the column's own
            calibration, then ``DENSE``. Columns: ``places``.
        places: where recipes were found and applied.
        what: what the places are, in the singular: ``model`` or ``text``.
        by_complexity: also say what is carried from complex to simple places, which are those that the dense model
            finds harder and easier. Only for one dense model: perplexities of several do not compare.
        tasks: the cells' scores in tasks.
    """
    pruned = tuple(row for row in matrix.rows if row != DENSE)
    recipes = tuple(row for row in pruned if row != WANDA)
    to_wanda = matrix.relative(lambda column: matrix.of(WANDA, column), recipes)
    to_own = matrix.relative(lambda column: matrix.of(column, column), pruned)
    relatives = {"to_wanda": to_wanda, "to_own": to_own}
    table = matrix_table(("found_on", "applied_to"), "perplexity", matrix, relatives, tasks)
    own = [value for place in places if (value := to_wanda.of(place, place)) is not None]
    strange = list(_off_diagonal(to_wanda, places))
    verdict = (
        f"A recipe found on another {what} gives {times(geometric_mean(strange))} Wanda's perplexity on average, "
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
    strange = list(_off_diagonal(to_wanda, places))
    remarks = []
    if strange:
        level = sum(map(is_level, strange))
        better = sum(value < 1 - LEVEL for value in strange)
        remarks.append(
            f"Of {len(strange)} pairs it is better than Wanda in {better}, level ({LEVEL_WORDS}) in {level} and "
            f"worse in {len(strange) - better - level}."
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
    shared = to_own.row(UNIVERSAL) if UNIVERSAL in to_own.rows else {}
    if shared:
        furthest = max(shared, key=shared.__getitem__)
        against = to_wanda.row(UNIVERSAL)
        remarks.append(
            f"One recipe searched for all is {times(shared[furthest])} the own recipe's perplexity at worst "
            f"({furthest}), {times(geometric_mean(list(shared.values())))} on average, and "
            f"{times(max(against.values(), default=None))} Wanda's at worst."
        )
    return tuple(remarks)


def _on_complexity(matrix: Matrix, to_own: Matrix, places: tuple[str, ...], what: str) -> tuple[str, ...]:
    """What recipes are worth when carried from complex to simple places, and the other way.

    How complex a place is, the dense model's perplexity on it says.
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
