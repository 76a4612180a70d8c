"""A search takes the fastest way that fits the memory of its device."""

from dataclasses import replace

import pytest

from optishear.memory.model_shape import shape_of
from optishear.memory.search_plan import SearchWork, plan_search, rank_bytes, search_need
from tiny import tiny_model

SHAPE = replace(shape_of(tiny_model()), prunable=10**10, parameters=11 * 10**9, layer=10**8, width=4096, blocks=32)
WORK = SearchWork(sequences=24, measured=4, length=512, descends=True, ranks=True)
FULL = search_need(SHAPE, 2, WORK, ranks=rank_bytes(SHAPE))


def test_what_fits_is_done_as_usual() -> None:
    for free in (FULL.total, None):
        memory = plan_search(SHAPE, 2, WORK, free, host_copy=True)
        assert (memory.copy_on_host, memory.sequences_per_pass, memory.need.ways) == (False, 4, ())
        assert not memory.recomputed
        assert memory.rank_bytes == rank_bytes(SHAPE) == 2 * 10**10


def test_with_less_memory_fewer_ranks_then_smaller_batches_then_the_copy_on_the_host() -> None:
    found = []
    free = FULL.total
    while True:
        memory = plan_search(SHAPE, 2, WORK, free, host_copy=True)
        if memory.need.total > free:
            break
        assert len(memory.need.ways) >= 1 or free == FULL.total
        found.append(memory)
        free = memory.need.total - 1
    assert found[1].recomputed
    assert found[1].rank_bytes == found[0].rank_bytes
    assert found[2].rank_bytes < found[1].rank_bytes
    assert any(not memory.copy_on_host and memory.rank_bytes == 0 for memory in found)
    assert found[-1].copy_on_host
    assert found[-1].rank_bytes == 0
    assert found[-1].sequences_per_pass == 1
    totals = [memory.need.total for memory in found]
    assert totals == sorted(totals, reverse=True)


def test_the_copy_on_the_host_leaves_the_gpu_its_bytes() -> None:
    on_host = search_need(SHAPE, 2, WORK, ranks=0, copy_on_host=True)
    on_gpu = search_need(SHAPE, 2, WORK, ranks=0)
    assert on_host.host == {"copy": 2 * 10**10}
    assert on_gpu.parts["copy"] - on_host.parts["copy"] == 2 * (10**10 - 10**8)


def test_a_cpu_has_no_other_host() -> None:
    memory = plan_search(SHAPE, 2, WORK, 0, host_copy=False)
    assert not memory.copy_on_host


@pytest.mark.parametrize("budget", [0, 10**9])
def test_a_given_budget_limits_the_ranks(budget: int) -> None:
    assert plan_search(SHAPE, 2, WORK, None, host_copy=True, memory_budget=budget).rank_bytes == budget


def test_groups_have_no_ranks_and_no_descent() -> None:
    structured = SearchWork(sequences=4, measured=4, length=512, descends=False, ranks=False)
    memory = plan_search(SHAPE, 2, structured, None, host_copy=True)
    assert memory.rank_bytes == 0
    assert "ranks" not in memory.need.parts
