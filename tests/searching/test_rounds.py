"""Rounds halve the sequences as long as there is something to halve."""

import pytest

from optishear.parameters.search import SearchParameters
from optishear.searching.rounds import plan_rounds


@pytest.mark.parametrize(
    ("sequences", "rounds", "sizes"),
    [(8, 1, [8]), (8, 3, [2, 4, 8]), (6, 3, [1, 3, 6]), (1, 3, [1]), (8, 10**15, [1, 2, 4, 8])],
)
def test_each_round_has_twice_the_sequences(sequences: int, rounds: int, sizes: list[int]) -> None:
    parameters = SearchParameters(search_sequences=sequences, rounds=rounds, trials=100)
    assert [each.sequences for each in plan_rounds(parameters, ("joint",))] == sizes
