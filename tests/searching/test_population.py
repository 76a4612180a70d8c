"""Candidates of one generation on several workers, which are plain objects here."""

import logging
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from optishear.divergence.model_divergence import ModelDivergence
from optishear.metrics.metric import WANDA
from optishear.models.layers import prunable_layers
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.searching import evaluator as evaluator_module
from optishear.searching import measuring
from optishear.searching.evaluator import CandidateEvaluator
from optishear.searching.journal import Journal
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.measuring import Measured, Measurer, Part, Work
from optishear.searching.population import Population, WorkerLost
from optishear.searching.run import SearchRun
from optishear.searching.trials import Trial
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model
from wording import refused

HALF = parse_pattern("0.5")
CALIBRATION = random_calibration(8, 32)


def work(number: int) -> Work:
    return Work([WANDA], [number], (Part("", 0, 1),))


class Echo:
    """A worker that gives the number of its work back, after a step of the test's own."""

    def __init__(self, name: str = "worker", before: Callable[[int], None] = lambda number: None) -> None:
        self.name = name
        self.seen: list[int] = []
        self._before = before

    def measure(self, work: Work) -> list[Measured]:
        (number,) = work.pruned_per_row
        self._before(number)
        self.seen.append(number)
        return [Measured([{"kl": float(number)}], 1.0)]


def measured(population: Population, count: int) -> list[float]:
    return [result[0].distances[0]["kl"] for result in population.measure([work(number) for number in range(count)])]


def die(number: int) -> None:
    raise WorkerLost("the process is gone\nwith a traceback")


@pytest.mark.parametrize("workers", [1, 2, 3, 30])
def test_results_have_the_order_of_the_candidates(workers: int) -> None:
    echoes = [Echo() for _ in range(workers)]
    population = Population(echoes)
    assert measured(population, 20) == list(range(20))
    assert sorted(number for echo in echoes for number in echo.seen) == list(range(20))
    assert measured(population, 0) == []


def test_workers_measure_at_the_same_time() -> None:
    second_began = Event()

    def first_waits(number: int) -> None:
        if number == 0:
            assert_set(second_began)
        else:
            second_began.set()

    echoes = [Echo(before=first_waits) for _ in range(2)]
    assert measured(Population(echoes), 6) == list(range(6))


def test_a_lost_worker_gives_its_candidate_to_another(caplog: pytest.LogCaptureFixture) -> None:
    lost = Event()

    def die_second(number: int) -> None:
        if number >= 2:
            lost.set()
            die(number)

    mortal = Echo("worker 1 of 2", die_second)
    other = Echo("worker 2 of 2", lambda number: assert_set(lost) if number >= 2 else None)
    population = Population([mortal, other])
    with caplog.at_level(logging.WARNING):
        assert measured(population, 8) == list(range(8))
    assert "worker 1 of 2" in caplog.text
    assert "the process is gone" in caplog.text
    assert "traceback" not in caplog.text
    # It is not asked again.
    caplog.clear()
    assert measured(population, 2) == [0, 1]
    assert not caplog.text
    assert set(mortal.seen) <= {0, 1}


def assert_set(event: Event) -> None:
    assert event.wait(10)


def test_no_worker_left_is_one_sentence() -> None:
    population = Population([Echo(before=die), Echo(before=die)])
    for _ in range(2):
        with refused("All 2 workers", "repeat the command"):
            measured(population, 5)


def test_an_error_is_raised_in_the_place_of_its_candidate() -> None:
    def fail(number: int) -> None:
        if number in (3, 5):
            raise ZeroDivisionError(number)

    results = Population([Echo(before=fail), Echo(before=fail)]).measure([work(number) for number in range(20)])
    assert [result[0].distances[0]["kl"] for result in islice(results, 3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match="3"):
        next(results)


def test_what_is_not_asked_for_is_not_begun() -> None:
    first_is_asked = Event()
    echo = Echo(before=lambda number: assert_set(first_is_asked) if number == 1 else None)
    results = Population([echo]).measure([work(number) for number in range(20)])
    next(results)
    threading.Timer(0.1, first_is_asked.set).start()
    results.close()
    assert echo.seen == [0, 1]


class Resident:
    """A worker with a model of its own in this process; lost after some candidates."""

    def __init__(self, name: str, lives: int) -> None:
        self.name = name
        model = tiny_model()
        weights = MaskedWeights(
            prunable_layers(model), collect_statistics(model, CALIBRATION, progress=False), HALF, 1e9
        )
        self._measurer = Measurer(weights, divergences(model))
        self._lives = lives

    def measure(self, work: Work) -> list[Measured]:
        self._lives -= 1
        if self._lives < 0:
            die(0)
        return self._measurer.measure(work)


def divergences(model: Any) -> dict[str, ModelDivergence]:
    sets = {"": CALIBRATION.tokens, "math": random_calibration(8, 24, seed=5).tokens}
    return {name: ModelDivergence(model, tokens, ("kl",), measured=4) for name, tokens in sets.items()}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of each thread, on which every measurement takes a second."""
    local = threading.local()

    def perf_counter() -> float:
        local.now = getattr(local, "now", 0.0) + 1.0
        return float(local.now)

    for module in (measuring, evaluator_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=perf_counter))


def search(journal: Path, lives: list[int], **changes: Any) -> list[Trial]:
    model = tiny_model()
    layers = prunable_layers(model)
    parameters = SearchParameters(**{"trials": 40, "population": 8, "search_sequences": 4, **changes})
    residents = [Resident(f"worker {number}", life) for number, life in enumerate(lives, 1)]
    with MaskedWeights(layers, collect_statistics(model, CALIBRATION, progress=False), HALF, 1e9) as weights:
        evaluator = CandidateEvaluator(
            layers,
            weights,
            divergences(model),
            Journal(journal),
            HALF,
            population=Population(residents) if residents else None,
        )
        run = SearchRun(evaluator, layers, parameters, HALF, 0, 8, None, progress=False)
        run.run_phases()
    return run.trials


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "changes", [{}, {"algorithm": "evopress"}, {"algorithm": "random", "trials": None, "budget": "60s"}]
)
def test_a_search_and_its_journal_are_the_same_with_any_number_of_workers(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    expected = search(tmp_path / "alone.jsonl", [], **changes)
    assert len(expected) > 20
    for number, lives in enumerate([[10**6], [10**6] * 2, [11, 2, 10**6]]):
        journal = tmp_path / f"{number}.jsonl"
        assert search(journal, lives, **changes) == expected
        assert journal.read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


@pytest.mark.usefixtures("clock")
def test_a_search_whose_workers_are_all_lost_goes_on_from_its_journal(tmp_path: Path) -> None:
    expected = search(tmp_path / "alone.jsonl", [])
    with refused("All 2 workers"):
        search(tmp_path / "lost.jsonl", [5, 9])
    written = (tmp_path / "lost.jsonl").read_bytes()
    assert written == (tmp_path / "alone.jsonl").read_bytes()[: len(written)]
    assert search(tmp_path / "lost.jsonl", [10**6]) == expected
    assert (tmp_path / "lost.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
