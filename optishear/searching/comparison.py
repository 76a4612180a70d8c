"""Several searches side by side: the best value that each had after each trial."""

from collections.abc import Mapping

import pyarrow as pa


def best_so_far(trials: pa.Table, objective: str) -> list[float]:
    """The lowest value up to each searched trial, over the trials that were judged on the most sequences.

    The named metrics, which every search begins with, count for the start but not as trials.

    Args:
        trials: the table of ``trials.parquet``.
        objective: the column.
    """
    rows = trials.select(["name", "sequences", objective]).to_pylist()
    most = max(row["sequences"] for row in rows)
    judged = [row for row in rows if row["sequences"] == most]
    best = min((row[objective] for row in judged if row["name"]), default=float("inf"))
    values = []
    for row in judged:
        if not row["name"]:
            best = min(best, row[objective])
            values.append(best)
    return values


def compare_searches(searches: Mapping[tuple[str, int], pa.Table], objective: str) -> pa.Table:
    """One row for each trial of each search: ``algorithm``, ``seed``, ``trial`` (from 1) and ``best``.

    Args:
        searches: the trials of each search, by algorithm and seed.
        objective: what to compare.
    """
    rows = [
        {"algorithm": algorithm, "seed": seed, "trial": number, "best": best}
        for (algorithm, seed), trials in searches.items()
        for number, best in enumerate(best_so_far(trials, objective), start=1)
    ]
    columns = {"algorithm": pa.string(), "seed": pa.int64(), "trial": pa.int32(), "best": pa.float64()}
    return pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items())))
