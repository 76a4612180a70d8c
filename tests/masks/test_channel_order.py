"""An order of channels in which N:M prunes less."""

from itertools import permutations

import pytest
import torch

from optishear.masks.channel_order import best_order, kept_sum


def test_two_important_columns_go_to_different_groups() -> None:
    # The given order puts all four important columns into one group, which keeps two of them.
    importance = torch.tensor([[9.0, 9.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0]]).repeat(3, 1)
    order = best_order(importance, 2, 4)
    assert sorted(order.tolist()) == list(range(8))
    assert kept_sum(importance[:, order], 2, 4) == 3 * 36
    assert kept_sum(importance, 2, 4) == 3 * 20


def test_the_order_is_near_the_best_of_all() -> None:
    importance = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) ** 4
    sums = [kept_sum(importance[:, list(order)], 1, 3) for order in permutations(range(6))]
    found = kept_sum(importance[:, best_order(importance, 1, 3)], 1, 3)
    assert found >= 0.95 * max(sums)
    assert found >= kept_sum(importance, 1, 3)


@pytest.mark.parametrize(("kept", "group"), [(2, 4), (1, 4), (4, 8), (6, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_no_order_is_worse_than_the_given_one(kept: int, group: int, seed: int) -> None:
    importance = torch.rand(20, 32, generator=torch.Generator().manual_seed(seed)) ** 6
    order = best_order(importance, kept, group)
    assert sorted(order.tolist()) == list(range(32))
    assert kept_sum(importance[:, order], kept, group) > kept_sum(importance, kept, group)


def test_where_nothing_is_gained_the_order_stays() -> None:
    assert best_order(torch.ones(4, 16), 2, 4).tolist() == list(range(16))
    assert best_order(torch.ones(4, 4), 2, 4).tolist() == list(range(4))
