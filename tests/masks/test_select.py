"""Masks against a sort, one row at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optishear.errors import InputError
from optishear.masks.select import group_mask, keep_mask, row_mask, row_ranks
from optishear.pattern import parse_pattern

# Few distinct values, so that equal scores are common.
tied_scores = st.integers(0, 2**32 - 1).map(
    lambda seed: torch.randint(0, 5, (7, 24), generator=torch.Generator().manual_seed(seed)).float()
)


def by_sorting(scores: torch.Tensor, pruned: int) -> torch.Tensor:
    mask = torch.ones_like(scores, dtype=torch.bool)
    for row, values in enumerate(scores.tolist()):
        for column in sorted(range(len(values)), key=lambda index: (values[index], index))[:pruned]:
            mask[row, column] = False
    return mask


@settings(deadline=None)
@given(scores=tied_scores, pruned=st.integers(0, 24))
def test_rows_lose_their_lowest_and_ties_go_by_column(scores: torch.Tensor, pruned: int) -> None:
    assert torch.equal(row_mask(scores, pruned), by_sorting(scores, pruned))


@settings(deadline=None)
@given(scores=tied_scores, pruned=st.integers(0, 24))
def test_ranks_give_the_same_masks(scores: torch.Tensor, pruned: int) -> None:
    assert torch.equal(row_ranks(scores) >= pruned, row_mask(scores, pruned))


@pytest.mark.parametrize(("kept", "group"), [(2, 4), (1, 4), (4, 8), (3, 8), (6, 12), (1, 24)])
@settings(deadline=None)
@given(scores=tied_scores)
def test_groups_lose_their_lowest(scores: torch.Tensor, kept: int, group: int) -> None:
    expected = by_sorting(scores.reshape(-1, group), group - kept).reshape(scores.shape)
    assert torch.equal(group_mask(scores, kept, group), expected)


@pytest.mark.parametrize("lowest", [0.0, -0.0, -torch.inf, -1.0, -1e-30])
def test_every_kind_of_lowest_score_goes_first(lowest: float) -> None:
    scores = torch.rand(20, 30)
    scores[:, ::4] = lowest
    for pruned in (1, 5, 8, 9, 20):
        assert torch.equal(row_mask(scores, pruned), by_sorting(scores, pruned))
        assert torch.equal(row_ranks(scores) >= pruned, by_sorting(scores, pruned))


def test_many_rows_are_shared_between_threads() -> None:
    scores = torch.randn(1000, 50)
    assert torch.equal(row_mask(scores, 17), by_sorting(scores, 17))


def test_minus_infinity_goes_first() -> None:
    scores = torch.tensor([[1.0, -torch.inf, 2.0, -torch.inf]])
    assert row_mask(scores, 1).tolist() == [[True, False, True, True]]
    assert row_mask(scores, 3).tolist() == [[False, False, True, False]]


def test_ranks_of_long_rows_do_not_overflow() -> None:
    ranks = row_ranks(torch.arange(2**15 + 5).float().reshape(1, -1))
    assert ranks[0, -1] == 2**15 + 4


def test_a_mask_is_of_booleans() -> None:
    for width in (1, 24):
        scores = torch.rand(3, width)
        for pruned in {0, 1, width}:
            assert row_mask(scores, pruned).dtype == torch.bool
            assert torch.equal(row_mask(scores, pruned), by_sorting(scores, pruned))
    assert {group_mask(scores, 1, group).dtype for group in (4, 8, 12, 24)} == {torch.bool}


def test_pattern_decides() -> None:
    scores = torch.rand(4, 8)
    assert (~keep_mask(scores, parse_pattern("0.25"))).sum(dim=1).tolist() == [2] * 4
    assert torch.equal(keep_mask(scores, parse_pattern("2:4")), group_mask(scores, 2, 4))
    assert torch.equal(keep_mask(scores, parse_pattern("2:4"), 2), group_mask(scores, 3, 4))
    assert bool(keep_mask(scores, parse_pattern("2:4"), 0).all())


def test_group_that_does_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="4:8 does not divide the 12 inputs"):
        group_mask(torch.rand(2, 12), 4, 8)
