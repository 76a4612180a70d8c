"""What is refused of the workers of a search before anything begins."""

import sys

import pytest

from flows.shared.checks import CHECKS
from optishear.extras import is_installed
from tasks.stages.parameters import SearchStageParameters
from tasks.stages.search import check_search_workers
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
