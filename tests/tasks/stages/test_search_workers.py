"""What is refused of the workers of a search before anything begins."""

import re
import sys

import pytest

from flows.shared.checks import CHECKS
from optishear.errors import InputError
from optishear.extras import is_installed
from tasks.engine import memory
from tasks.stages.parameters import SearchStageParameters
from tasks.stages.search import check_memory_of_search, check_search_workers
from tiny import tiny_model
from wording import refused


def check(**given: object) -> None:
    parameters = SearchStageParameters(placement="in_process", **given)  # type: ignore[arg-type]
    check_search_workers(parameters, parameters)


def test_a_model_on_all_gpus_has_no_workers() -> None:
    with refused("workers", "'2'", "'shard'"):
        check(workers=2, device="shard")


def test_ray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    check(device="cpu")
    with refused("'head:6379'", "optishear[workers]"):
        check(workers="head:6379", device="cpu")


def test_workers_on_a_cpu_are_as_many_as_are_asked_for() -> None:
    if not is_installed("ray"):
        pytest.skip("Ray is not installed (the extra workers)")
    check(workers=3, device="cpu")


def test_every_command_with_a_search_checks_them() -> None:
    assert check_search_workers in CHECKS


def check_memory(workers: int) -> None:
    parameters = SearchStageParameters(placement="in_process", device="cpu", dtype="float32", workers=workers)
    check_memory_of_search(tiny_model(), parameters)


def test_the_memory_of_workers_on_a_cpu_is_counted_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"bytes": 1}
    monkeypatch.setattr(memory, "least_room", lambda _: free["bytes"])
    with pytest.raises(InputError) as caught:
        check_memory(0)
    assert "workers" not in str(caught.value)
    # Room for the search in its smallest way and one worker, but not for two of them.
    needed = re.search(r"needs ([0-9]+) MiB", str(caught.value))
    assert needed is not None
    free["bytes"] = (2 * int(needed[1]) + 100) * 2**20
    check_memory(0)
    check_memory(1)
    with refused("The stage search", "2 workers", "weights sent to them", "give fewer workers"):
        check_memory(2)
