"""The knapsack against all choices, one by one."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optishear.recipes import knapsack
from optishear.recipes.knapsack import best_choices

PROBLEMS = st.integers(1, 5).flatmap(
    lambda items: st.tuples(
        st.lists(st.lists(st.integers(0, 12), min_size=2, max_size=2), min_size=items, max_size=items),
        st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=items, max_size=items),
        st.integers(0, 40),
    )
)


@settings(max_examples=200, deadline=None)
@given(PROBLEMS)
def test_fills_the_capacity_as_far_as_possible_and_then_for_the_greatest_value(
    problem: tuple[list[list[int]], list[list[float]], int],
) -> None:
    further, of_choices, capacity = problem
    weights, values = np.array([[0, *row] for row in further]), np.array(of_choices)

    def total(of: np.ndarray, choices: tuple[int, ...] | list[int]) -> float:  # type: ignore[type-arg]
        return float(sum(row[choice] for row, choice in zip(of, choices, strict=True)))

    fitting = [all_ for all_ in product(range(3), repeat=len(weights)) if total(weights, all_) <= capacity]
    fullest = max(total(weights, choices) for choices in fitting)
    best = max(total(values, choices) for choices in fitting if total(weights, choices) == fullest)
    chosen = best_choices(weights, values, capacity)
    assert total(weights, chosen) == fullest
    assert total(values, chosen) == pytest.approx(best)


def test_coarser_units_never_exceed_the_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knapsack, "_TABLE", 40)
    weights = np.array([[0, 7], [0, 11], [0, 13], [0, 17]])
    chosen = best_choices(weights, np.zeros((4, 2)), 30)
    assert 0 < sum(row[choice] for row, choice in zip(weights, chosen, strict=True)) <= 30
