"""Compare several searches by their best value after each trial."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa


def best_so_far(trials: pa.Table, objective: str) -> list[float]:
    """The lowest value up to each searched trial, over the trials that were evaluated on the most sequences.

    The named metrics give the first value but are not counted as trials.

    Args:
        trials: the table of ``trials.parquet``.
        objective: the column.
    """
    best = _start(trials, objective)
    values = []
    for row in _most_evaluated(trials, objective):
        if not row["name"]:
            best = min(best, row[objective])
            values.append(best)
    return values


def compare_searches(searches: Mapping[tuple[str, int], pa.Table], objective: str) -> pa.Table:
    """One row for each trial of each search: ``algorithm``, ``seed``, ``trial`` (from 1), ``best`` and ``carried``.

    A search that ended before the longest one keeps its last best value in additional rows, marked ``carried``. A
    median over the seeds then includes all seeds at every trial.

    Args:
        searches: the trials of each search, by algorithm and seed.
        objective: what to compare.
    """
    values = {search: best_so_far(trials, objective) for search, trials in searches.items()}
    longest = max(1, *map(len, values.values()))
    rows = []
    for (algorithm, seed), best in values.items():
        last = best[-1] if best else _start(searches[algorithm, seed], objective)
        for number in range(1, longest + 1):
            carried = number > len(best)
            value = last if carried else best[number - 1]
            rows.append({"algorithm": algorithm, "seed": seed, "trial": number, "best": value, "carried": carried})
    columns = {
        "algorithm": pa.string(), "seed": pa.int64(), "trial": pa.int32(), "best": pa.float64(), "carried": pa.bool_(),
    }  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items())))


def _most_evaluated(trials: pa.Table, objective: str) -> list[dict[str, Any]]:
    """The trials that were evaluated on the most sequences."""
    rows: list[dict[str, Any]] = trials.select(["name", "sequences", objective]).to_pylist()
    most = max(row["sequences"] for row in rows)
    return [row for row in rows if row["sequences"] == most]


def _start(trials: pa.Table, objective: str) -> float:
    """The lowest value of the named metrics."""
    return min((row[objective] for row in _most_evaluated(trials, objective) if row["name"]), default=float("inf"))
