"""What the memory of a search depends on, from its parameters."""

from typing import Any

import pytest
import torch

from optishear.errors import InputError
from optishear.memory.model_shape import shape_of
from optishear.memory.search_plan import SearchMemory
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.searching import search_memory as search_memory_module
from optishear.searching.search_memory import memory_of_loaded, search_fix, search_memory, search_work
from optishear.searching.search_workers import workers_on
from optishear.workers import Workers
from tiny import tiny_model


@pytest.mark.parametrize(
    ("sparsity", "changes", "descends"),
    [
        ("0.5", {}, True),
        ("0.5", {"ratio_scope": "none"}, False),
        ("0.5", {"descent_steps": 0}, False),
        ("2:4", {}, False),
        ("2:4", {"dense_share": 0.1}, True),
    ],
)
def test_the_backward_passes_of_the_descent_are_planned(sparsity: str, changes: dict[str, Any], descends: bool) -> None:
    work = search_work(SearchParameters(**changes), 32, 64, parse_pattern(sparsity))
    assert work.descends == descends


def memory_of(workers: int, free: int | None, budget: float | None = None, on_gpu: bool = False) -> SearchMemory:
    parameters = SearchParameters(memory_budget=budget)
    work = search_work(parameters, 32, 512, parse_pattern("0.5"))
    return search_memory(shape_of(tiny_model()), 4, parameters, work, free, on_gpu=on_gpu, workers=workers)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_each_worker_on_the_device_needs_what_the_search_needs(on_gpu: bool) -> None:
    alone, shared = (memory_of(workers, None, on_gpu=on_gpu).need for workers in (0, 2))
    # On a CPU the weights reach them through memory that the processes of a machine share.
    sent = {} if on_gpu else {"weights sent to them": alone.parts["weights"]}
    assert shared.parts == {**alone.parts, "2 workers": 2 * alone.total, **sent}
    assert "one worker" in memory_of(1, None).need.parts


def test_the_search_and_its_workers_have_equal_parts_of_what_is_free() -> None:
    whole = memory_of(0, None)
    weights = whole.need.parts["weights"]
    enough = memory_of(2, 3 * whole.need.total + weights)
    assert enough.need.total == 3 * whole.need.total + weights
    assert not enough.need.ways
    less = memory_of(2, 3 * whole.need.total + weights - 3)
    assert less.need.ways
    assert less.need.total < enough.need.total


def test_they_share_the_budget_of_the_ranks() -> None:
    budget = 3 * 3000 / 2**30
    assert memory_of(0, None, budget).rank_bytes == 9000
    assert memory_of(2, None, budget).rank_bytes == 3000


def test_a_loaded_model_is_refused_with_workers_that_do_not_fit_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, parameters = tiny_model(), SearchParameters()
    work = search_work(parameters, 32, 512, parse_pattern("0.5"))
    smallest = memory_of(0, 0).need
    monkeypatch.setattr(search_memory_module, "least_room", lambda *_: 3 * smallest.total)
    assert memory_of_loaded(model, parameters, work).need.total <= 3 * smallest.total
    assert memory_of_loaded(model, parameters, work, workers=1).need.total <= 3 * smallest.total
    with pytest.raises(InputError, match=r"2 workers .*sent.* fewer workers"):
        memory_of_loaded(model, parameters, work, workers=2)


def test_who_shares_the_device_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert workers_on(cpu, Workers(3)) == 3
    assert workers_on(cpu, Workers()) == workers_on(cpu, Workers(address="head:6379")) == 0
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    # Its own GPU is the last that gets a worker.
    assert [workers_on(cuda, Workers(count)) for count in (3, 4)] == [0, 1]


def test_the_fix_names_workers_where_there_are_some() -> None:
    assert search_fix(2) == f"give fewer workers, {search_fix(0)}"
