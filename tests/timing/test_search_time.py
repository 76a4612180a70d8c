"""The expected time of a search, against what a search with known times takes."""

from dataclasses import replace
from typing import Any

import pytest

from optishear.metrics.canonical import distinct_meta_metrics
from optishear.models.layers import prunable_layers
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.search_space.candidate import Candidate
from optishear.searching.evaluator import Evaluator
from optishear.searching.journal import Journal
from optishear.searching.priors import make_priors
from optishear.searching.run import SearchRun
from optishear.statistics.collect import collect_statistics
from optishear.timing.search_time import search_seconds
from speeds import speed
from tiny import random_calibration, tiny_model

LAYERS = prunable_layers(tiny_model())
STATISTICS = collect_statistics(tiny_model(), random_calibration(), progress=False)
SPEED = speed()


class Clocked(Evaluator):
    """Counts the seconds that a search takes where each part takes what ``SPEED`` says."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._measured: dict[str, int] = {}

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        known = self._measured.get(candidate.key, 0)
        seconds = 0.0
        if known < sequences:
            assert SPEED.divergence is not None
            assert SPEED.new_masks is not None
            seconds = SPEED.new_masks + (sequences - known) * SPEED.divergence
            self._measured[candidate.key] = sequences
        self.seconds += seconds
        return {"kl": 1 + hash(candidate.key) % 1000 / 1000, "seconds": seconds, "sparsity_distance": 0.0}

    def marginal_costs(self, candidate: Candidate, first: int, count: int) -> tuple[list[float], float]:
        assert SPEED.marginal_costs is not None
        seconds = count * SPEED.marginal_costs
        self.seconds += seconds
        if first == 0:  # the pass measures the candidate too
            self._measured[candidate.key] = count
        return [float(index) for index, _ in enumerate(LAYERS)], seconds


@pytest.mark.parametrize("sparsity", ["0.5", "2:4"])
@pytest.mark.parametrize(
    "values",
    [
        {"trials": 80},
        {"trials": 300, "metric_scope": "model"},
        {"trials": 100, "descent_steps": 0},
        {"trials": 60, "order": "joint"},
        {"budget": "200s"},
    ],
)
def test_the_estimate_is_near_the_time_of_the_search(sparsity: str, values: dict[str, Any]) -> None:
    parameters = SearchParameters(search_sequences=4, **values)
    pattern = parse_pattern(sparsity)
    clock = Clocked()
    priors = make_priors(parameters, LAYERS, STATISTICS, pattern, Journal())
    if priors.curves:
        assert SPEED.spectra is not None
        priors = replace(priors, seconds=SPEED.spectra)
        clock.seconds = SPEED.spectra
    SearchRun(clock, LAYERS, parameters, pattern, 0, 12, None, progress=False, priors=priors).run_phases()
    estimate = search_seconds(SPEED, parameters, pattern, sequences=16, sequence_length=100)
    descends = parameters.descent_steps and not pattern.is_structured
    gradient = 12 if descends else 4
    held_out = min(8, 16 - gradient)
    overhead = gradient + held_out + 2 * held_out
    assert estimate - overhead == pytest.approx(clock.seconds, rel=0.3)


def test_longer_sequences_take_longer_in_proportion() -> None:
    parameters = SearchParameters(trials=80, search_sequences=4)
    pattern = parse_pattern("0.5")
    without_masks = speed(new_masks=0.0, kept_masks=0.0, spectra=0.0)
    once = search_seconds(without_masks, parameters, pattern, sequences=16, sequence_length=100)
    twice = search_seconds(without_masks, parameters, pattern, sequences=16, sequence_length=200)
    assert twice == pytest.approx(2 * once)


def test_a_budget_bounds_the_rounds() -> None:
    pattern = parse_pattern("2:4")
    unbounded = SearchParameters(trials=1000, search_sequences=1)
    bounded = SearchParameters(trials=1000, search_sequences=1, budget="60s")
    seconds = [search_seconds(SPEED, each, pattern, 1, 100) for each in (unbounded, bounded)]
    assert seconds[1] <= 61 + 1 < seconds[0]


def test_an_exhaustive_search_takes_every_distinct_metric_once() -> None:
    pattern = parse_pattern("2:4")
    metrics = len(distinct_meta_metrics())
    every = search_seconds(SPEED, SearchParameters(algorithm="exhaustive", search_sequences=1), pattern, 1, 100)
    assert every == pytest.approx(metrics * (0.5 + 1.0) + 3 + 1)
    few = SearchParameters(algorithm="exhaustive", search_sequences=1, trials=10)
    assert search_seconds(SPEED, few, pattern, 1, 100) == pytest.approx(10 * 1.5 + 3 + 1)


def test_a_search_without_any_limit_is_not_estimated() -> None:
    # Beyond the metrics it searches ratios until nothing new comes up.
    endless = SearchParameters(algorithm="exhaustive", search_sequences=1)
    assert search_seconds(SPEED, endless, parse_pattern("0.5"), 1, 100) is None


def test_finalists_take_a_solve_of_all_layers_each() -> None:
    pattern = parse_pattern("0.5")
    without, three = (
        SearchParameters(trials=10, search_sequences=4, reconstructed_finalists=count) for count in (0, 3)
    )
    seconds = [search_seconds(SPEED, each, pattern, sequences=32, sequence_length=100) for each in (without, three)]
    # Two blocks on eight sequences: two passes and the moments of each, and the solve; then four search sequences.
    assert seconds[1] - seconds[0] == pytest.approx(3 * (2 * (8 * (2 * 0.25 + 0.125) + 4.0) + 4 * 1.0))
