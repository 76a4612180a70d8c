"""Searches side by side."""

import pyarrow as pa
import pytest

from optishear.report.algorithms import algorithms
from optishear.searching.comparison import best_so_far, compare_searches

TRIALS = pa.table(
    {
        "name": ["wanda", "", "", "wanda", "", "", ""],
        "sequences": [1, 1, 1, 4, 4, 4, 4],
        "kl": [0.1, 0.05, 0.02, 0.9, 1.2, 0.7, 0.8],
    }
)


def test_only_trials_on_the_most_tokens_count_and_the_named_are_where_it_starts() -> None:
    assert best_so_far(TRIALS, "kl") == [0.9, 0.7, 0.7]


def test_one_row_for_each_trial_of_each_search() -> None:
    compared = compare_searches({("nsga3", 0): TRIALS, ("nsga3", 1): TRIALS, ("random", 0): TRIALS}, "kl")
    assert compared.num_rows == 9
    assert compared.to_pylist()[-1] == {"algorithm": "random", "seed": 0, "trial": 3, "best": 0.7, "carried": False}


def test_a_search_that_ended_earlier_keeps_its_best() -> None:
    short = TRIALS.slice(0, 6).set_column(2, "kl", pa.array([0.1, 0.05, 0.02, 0.9, 0.5, 0.4]))
    named = TRIALS.slice(0, 4)
    compared = compare_searches({("nsga3", 0): TRIALS, ("nsga3", 1): short, ("random", 0): named}, "kl")
    found = {
        (row["algorithm"], row["seed"], row["trial"]): (row["best"], row["carried"]) for row in compared.to_pylist()
    }
    assert [found["nsga3", 1, trial] for trial in (1, 2, 3)] == [(0.5, False), (0.4, False), (0.4, True)]
    assert [found["random", 0, trial] for trial in (1, 2, 3)] == [(0.9, True)] * 3
    # 0.9 and 0.5, 0.7 and 0.4 twice: without the second seed at the end, the line would rise.
    line = algorithms(compared, "kl").axes[0].lines[0]
    assert list(line.get_ydata()) == pytest.approx([0.7, 0.55, 0.55])


def test_the_figure_has_a_line_and_a_band_for_each_algorithm() -> None:
    other = TRIALS.set_column(2, "kl", pa.array([0.1, 0.05, 0.02, 0.9, 0.8, 0.6, 0.5]))
    figure = algorithms(
        compare_searches({("nsga3", 0): TRIALS, ("nsga3", 1): other, ("random", 0): TRIALS}, "kl"), "kl"
    )
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["nsga3", "random"]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.85, 0.65, 0.6])
    assert len(axes.collections) == 2
