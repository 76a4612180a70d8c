"""Layers of unlike N:M patterns under one budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optishear.recipes.density import Density

# Weights in 192ths, as in a block of SmolLM2: queries, keys, values, output, gate, up and down of three blocks.
SIZES = np.array([3, 1, 1, 3, 8, 8, 8] * 3) * 192
DEPTHS = np.repeat([0, 1, 2], 7)


def density(*fractions: float) -> Density:
    return Density(fractions or (0.5, 0.0), SIZES, DEPTHS)


def test_the_share_is_that_of_the_weights_in_dense_layers() -> None:
    levels = [0] * 21
    levels[4] = levels[8] = 1
    assert density().share(levels) == (8 + 1) / 96


def test_a_layer_counts_by_the_part_that_it_keeps_of_what_the_pattern_prunes() -> None:
    levels = [0] * 21
    levels[4], levels[5] = 1, 2
    assert density(0.5, 0.25, 0.0).share(levels) == pytest.approx((8 / 2 + 8) / 96)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 0.99), st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=21, max_size=21))
def test_a_share_is_met_as_nearly_as_whole_layers_can_and_never_exceeded(share: float, wished: list[float]) -> None:
    of = density(0.5, 0.25, 0.0)
    levels = of.nearest(share, np.array(wished))
    # Every multiple of half a unit can be met.
    assert of.share(levels) == pytest.approx(np.floor(share * 96 * 2 + 1e-6) / 2 / 96)


def test_a_wish_on_target_is_met_as_it_is() -> None:
    wished = np.full(21, 0.5)
    wished[[4, 8, 13]] = 0.0
    levels = density().nearest(17 / 96, wished)
    assert [index for index, level in enumerate(levels) if level] == [4, 8, 13]


def test_priorities_decide_what_a_wish_leaves_open() -> None:
    wished, priorities = np.full(21, 0.5), np.zeros((21, 2))
    wished[4] = 0.0
    priorities[12, 1] = 1.0
    levels = density().nearest(16 / 96, wished, priorities)
    assert [index for index, level in enumerate(levels) if level] == [4, 12]


def test_by_the_simple_rule_the_last_layers_are_dense() -> None:
    levels = density().nearest(32 / 96)
    assert [index for index, level in enumerate(levels) if level] == list(range(14, 21))
