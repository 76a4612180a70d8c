"""Workers of a search as Ray actors: the same recipe and journal, a lost actor, and where they listen."""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from optishear.extras import is_installed
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.searching import ray_workers
from optishear.searching.measuring import Measured, Part, Work
from optishear.searching.patience import Patience
from optishear.searching.population import Population
from optishear.searching.ray_workers import RayWorker, _start, check_workers, ray_session
from optishear.searching.search import SearchResult, run_search
from optishear.searching.search_workers import SearchWorkers
from optishear.statistics.collect import collect_statistics
from optishear.workers import Workers
from tiny import random_calibration, tiny_model
from wording import refused

CALIBRATION = random_calibration(8, 32)


def search(journal: Path, workers: str = "0") -> SearchResult:
    model = tiny_model()
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    parameters = SearchParameters(trials=40, population=8, search_sequences=4, workers=workers)
    half = parse_pattern("0.5")
    return run_search(model, {"": CALIBRATION}, statistics, parameters, half, journal=journal, progress=False)


def measurements(journal: Path) -> list[tuple[str, str]]:
    """Keys and values of a journal in order, to the last digit; the seconds are those of a clock."""
    records = map(json.loads, journal.read_text().splitlines())
    return [
        (record["key"], json.dumps({name: values for name, values in record["values"].items() if name != "seconds"}))
        for record in records
    ]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Two workers' session, which the searches of this module find and use; it takes some seconds to start."""
    if not is_installed("ray"):
        pytest.skip("Ray is not installed (the extra workers)")
    with ray_session(Workers(2), torch.get_num_threads(), 2**20) as module:
        yield module


@pytest.mark.servers
def test_two_actors_of_which_one_is_killed_find_what_none_do(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone = search(tmp_path / "alone.jsonl")
    asked: list[str] = []
    measure = RayWorker.measure

    def counting(self: RayWorker, work: Work) -> list[Measured]:
        if not asked:
            # An error of a measurement is raised as it is; the actor goes on.
            with pytest.raises(KeyError, match="unknown"):
                measure(self, Work([], [], (Part("unknown", 0, 1),)))
        asked.append(self.name)
        if self.name == "worker 1 of 2" and asked.count(self.name) == 8:
            ray.kill(self.actor)
        return measure(self, work)

    monkeypatch.setattr(RayWorker, "measure", counting)
    with caplog.at_level(logging.WARNING):
        shared = search(tmp_path / "shared.jsonl", "2")
    assert asked.count("worker 1 of 2") == 8
    assert asked.count("worker 2 of 2") > 8
    assert "worker 1 of 2" in caplog.text
    assert shared.recipe == alone.recipe
    assert shared.trials.drop_columns("seconds") == alone.trials.drop_columns("seconds")
    assert measurements(tmp_path / "shared.jsonl") == measurements(tmp_path / "alone.jsonl")
    assert ray.is_initialized(), "a session that was there before is left open"


def actors(ray: Any, sleeps: int) -> tuple[Any, Any]:
    """Two actors, of which the second goes to sleep in its so many-th measurement; each says in which process it is."""

    class Sleeper:
        def __init__(self, before: int) -> None:
            self.left = before

        def process(self) -> int:
            return os.getpid()

        def measure(self, work: Work) -> list[Measured]:
            self.left -= 1
            if not self.left:
                time.sleep(3600)
            return [Measured([{"kl": float(work.pruned_per_row[0])}], 0.01)]

    remote = ray.remote(Sleeper).options(num_cpus=0, max_restarts=0)
    return remote.remote(0), remote.remote(sleeps)


@pytest.mark.servers
def test_an_actor_that_hangs_is_ended_and_its_candidate_goes_to_another(
    ray: Any, caplog: pytest.LogCaptureFixture
) -> None:
    awake, asleep = actors(ray, sleeps=3)
    process = psutil.Process(ray.get(asleep.process.remote()))
    ray.get(awake.process.remote())
    patience = Patience(times=10, least=1.5, start=30)
    workers = [RayWorker("worker 1 of 2", awake, patience), RayWorker("worker 2 of 2", asleep, patience)]
    population = Population(workers)
    works = [Work([], [number], (Part("", 0, 1),)) for number in range(200)]
    with caplog.at_level(logging.WARNING):
        measured = [result[0].distances[0]["kl"] for result in population.measure(works)]
    assert measured == list(range(200))
    assert all(words in caplog.text for words in ("worker 2 of 2", "no answer", "1.5 s"))
    process.wait(timeout=30)


@pytest.mark.servers
def test_a_search_waits_for_its_workers_as_long_as_their_patience(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    class Impatient(Patience):
        def seconds(self, work: Work, is_first: bool) -> float:
            given.append(super().seconds(work, is_first))
            return 1e-6

    monkeypatch.setattr(ray_workers, "Patience", Impatient)
    with refused("All 2 workers", "repeat the command"):
        search(tmp_path / "journal.jsonl", "2")
    assert given == [4200, 4200]


@pytest.mark.servers
def test_nothing_listens_beyond_this_machine(ray: Any) -> None:
    started = psutil.Process().children(recursive=True)
    listening = [ip for process in [psutil.Process(), *started] for ip in listening_addresses(process)]
    assert len(listening) > 3
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def listening_addresses(process: psutil.Process) -> list[str]:
    """Addresses that a process listens on; none where it has ended, as Ray's short-lived processes do at any time."""
    try:
        connections = process.net_connections("inet")
    except psutil.NoSuchProcess:
        return []
    return [connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN]


class Stubborn:
    """Stands for Ray: it fails to start some times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls: list[str] = []

    def init(self, address: str) -> None:
        self.calls.append(address)
        if len(self.calls) - self.calls.count("shutdown") <= self.failures:
            raise TimeoutError("too slow\nand more")

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def test_a_session_that_does_not_start_is_started_again_and_a_cluster_is_not() -> None:
    slow = Stubborn(2)
    _start(slow, "", {})
    assert slow.calls == ["local", "shutdown", "local", "shutdown", "local"]
    with refused("Ray", "too slow", "workers"):
        _start(Stubborn(4), "", {})
    away = Stubborn(4)
    with refused("'head:6379'", "too slow", "workers"):
        _start(away, "head:6379", {})
    assert away.calls == ["head:6379", "shutdown"]


def test_workers_need_ray_or_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    check_workers(Workers(), torch.device("cpu"))
    with refused("ray", "workers", "optishear[workers]"):
        check_workers(Workers(2), torch.device("cpu"))


def test_a_model_on_several_devices_has_no_workers() -> None:
    model = tiny_model()
    model.lm_head.to("meta")
    with refused("2", "cuda"):
        SearchWorkers(Workers(2), model)
