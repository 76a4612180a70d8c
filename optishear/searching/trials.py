"""Trials: the evaluated candidates, their Pareto front, and their Parquet table."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from optishear.search_space.candidate import Candidate


@dataclass(frozen=True)
class Trial:
    """One evaluated candidate.

    Attributes:
        number: index in the order of evaluation, from 0.
        phase: phase of the search (``rounds.Round.phase``); ``reference`` for the named metrics.
        round: number of the round in the whole search, from 0.
        name: name of a named metric, otherwise empty.
        candidate: the evaluated candidate.
        sequences: number of search sequences; only values on the same number are comparable.
        objectives: value by objective name, in the order of the parameters; smaller is better.
        measured: all measured values by name, including the objectives.
        seconds: duration of the measurement.
    """

    number: int
    phase: str
    round: int
    name: str
    candidate: Candidate
    sequences: int
    objectives: dict[str, float]
    measured: dict[str, float]
    seconds: float


def objective_matrix(trials: list[Trial]) -> NDArray[np.float64]:
    """Objectives [trials, objectives]."""
    return np.array([list(trial.objectives.values()) for trial in trials])


def pareto_front(trials: list[Trial]) -> list[Trial]:
    """The non-dominated trials, sorted by the first objective."""
    if not trials:
        return []
    front = NonDominatedSorting().do(objective_matrix(trials), only_non_dominated_front=True)
    return sorted((trials[index] for index in front), key=lambda trial: (*trial.objectives.values(), trial.number))


def best_first(trials: list[Trial]) -> list[Trial]:
    """Trials sorted by non-dominated rank, then by the first objective; the order of promotion."""
    if not trials:
        return []
    ordered: list[Trial] = []
    for front in NonDominatedSorting().do(objective_matrix(trials)):
        members = [trials[index] for index in front]
        ordered += sorted(members, key=lambda trial: (*trial.objectives.values(), trial.number))
    return ordered


def trials_table(trials: list[Trial], front: list[Trial], chosen: Trial) -> pa.Table:
    """All trials as a table: one row per trial, one float64 column per measured value.

    The phase of a trial is in the column ``stage``.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.measured))
    on_front = {trial.number for trial in front}
    columns: dict[str, pa.Array] = {
        "trial": pa.array([trial.number for trial in trials], pa.int32()),
        "round": pa.array([trial.round for trial in trials], pa.int32()),
        "sequences": pa.array([trial.sequences for trial in trials], pa.int32()),
        "stage": pa.array([trial.phase for trial in trials]),
        "name": pa.array([trial.name for trial in trials]),
        "metrics": pa.array(
            [json.dumps({k: m.model_dump() for k, m in trial.candidate.metrics.items()}) for trial in trials]
        ),
        "sparsity_ratios": pa.array([json.dumps(trial.candidate.sparsity_ratios) for trial in trials]),
        "achieved_sparsity": pa.array([trial.candidate.achieved_sparsity for trial in trials], pa.float64()),
    }
    for name in names:
        columns[name] = pa.array([trial.measured.get(name) for trial in trials], pa.float64())
    columns["seconds"] = pa.array([trial.seconds for trial in trials], pa.float64())
    columns["on_front"] = pa.array([trial.number in on_front for trial in trials])
    columns["chosen"] = pa.array([trial.number == chosen.number for trial in trials])
    return pa.table(columns)
