"""Read the table of trials: its objectives, their labels and the comparable rows."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Row = dict[str, Any]

_DIVERGENCES = {"kl": "KL divergence from the dense model", "frobenius": "Frobenius norm of the difference in logits"}
_SPARSITY = {"sparsity_distance": "distance to the target sparsity", "dense_share": "share of dense weights"}
_FIXED = {
    "trial",
    "round",
    "sequences",
    "stage",
    "name",
    "metrics",
    "sparsity_ratios",
    "achieved_sparsity",
    "seconds",
    "on_front",
    "chosen",
}


def objective_columns(trials: pa.Table) -> list[str]:
    """The objectives of a search, main divergences first, then the named sets' ones, the sparsity distance last."""

    def order(name: str) -> tuple[int, int, str]:
        divergence = list(_DIVERGENCES).index(name.split("/")[0]) if name.split("/")[0] in _DIVERGENCES else 9
        return (2 if name in _SPARSITY else int("/" in name), divergence, name)

    names = [field.name for field in trials.schema if field.name not in _FIXED and pa.types.is_floating(field.type)]
    return sorted(names, key=order)


def searched_objectives(trials: pa.Table) -> list[str]:
    """The objectives that the search minimised: the smallest set whose front is the marked one.

    Args:
        trials: comparable rows. They may also have measures that were not minimised.
    """
    names = varying(trials, objective_columns(trials))
    rows = finite_rows(trials, names)
    marked = {row["trial"] for row in rows if row["on_front"]}
    for size in range(1, len(names)):
        for subset in combinations(names, size):
            if _front(rows, subset) == marked:
                return list(subset)
    return names


def _front(rows: list[Row], names: tuple[str, ...]) -> set[int]:
    """The non-dominated trials."""
    values = np.array([[row[name] for name in names] for row in rows])
    front = set()
    for row, own in zip(rows, values, strict=True):
        dominates = (values <= own).all(axis=1) & (values < own).any(axis=1)
        if not dominates.any():
            front.add(row["trial"])
    return front


def objective_label(name: str) -> str:
    """Label of an objective."""
    if name in _SPARSITY:
        return _SPARSITY[name]
    divergence, _, calibration = name.partition("/")
    words = _DIVERGENCES.get(divergence, divergence)
    return f"{words}, on {calibration}" if calibration else words


def comparable(trials: pa.Table) -> pa.Table:
    """The rows with the most sequences; objectives are only comparable for equal sequences."""
    if not trials.num_rows:
        return trials
    return trials.filter(pc.equal(trials["sequences"], pc.max(trials["sequences"])))


def varying(trials: pa.Table, names: list[str]) -> list[str]:
    """Those objectives that have at least two different finite values."""
    return [name for name in names if len(set(finite_values(trials, name))) > 1]


def finite_values(trials: pa.Table, name: str) -> list[float]:
    """The finite values of an objective."""
    return [value for value in trials[name].to_pylist() if value is not None and math.isfinite(value)]


def finite_rows(trials: pa.Table, names: list[str]) -> list[Row]:
    """The rows in which all of these objectives are finite, in the order of the trials."""
    rows = [
        row for row in trials.to_pylist() if all(row[name] is not None and math.isfinite(row[name]) for name in names)
    ]
    return sorted(rows, key=lambda row: row["trial"])
