"""The multiple-choice knapsack problem: one of several weights for each item, by dynamic programming."""

import math

import numpy as np
from numpy.typing import NDArray

# Entries of the table of choices, a byte each.
_TABLE = 10**8


def best_choices(weights: NDArray[np.int64], values: NDArray[np.float64], capacity: int) -> list[int]:
    """The choice of each item that fills the capacity as far as possible, and of all such the one of greatest value.

    Kellerer, Pferschy and Pisinger, Knapsack Problems, chapter 11. Weights are counted in their greatest common
    divisor. Where the table would have more than 10^8 entries, they are counted in larger units and rounded up, so that
    the capacity is never exceeded.

    Args:
        weights: [items, choices] int64, not negative; the first choice of each item weighs nothing.
        values: [items, choices] float64.
        capacity: limit of the total weight.

    Returns:
        The index of the chosen weight of each item. Of equal values, the first choices of the first items.
    """
    unit = max(math.gcd(*weights.flatten().tolist()), -(-capacity * len(weights) // _TABLE), 1)
    units = -(-weights // unit)
    room = capacity // unit
    best = np.full(room + 1, -np.inf)
    best[0] = 0.0
    choices = np.zeros((len(weights), room + 1), dtype=np.int8)
    for item, (of_item, value) in enumerate(zip(units, values, strict=True)):
        following = np.full(room + 1, -np.inf)
        for choice, weight in enumerate(of_item):
            if weight > room:
                continue
            reached = best[: room + 1 - weight] + value[choice]
            better = reached > following[weight:]
            following[weight:][better] = reached[better]
            choices[item, weight:][better] = choice
        best = following
    total = int(np.flatnonzero(np.isfinite(best))[-1])
    chosen = []
    for item in reversed(range(len(weights))):
        chosen.append(int(choices[item, total]))
        total -= int(units[item, chosen[-1]])
    return chosen[::-1]
