"""2:4 layers as semi-structured tensors, as far as PyTorch lets a CPU go: the conversion, not the kernels."""

import logging

import pytest
import torch
from torch import Tensor, nn
from torch.sparse import _semi_structured_conversions as conversions

from optishear.inference.semi_structured import fits, is_two_of_four, semi_structure


def two_of_four(rows: int = 64, columns: int = 128, dtype: torch.dtype = torch.bfloat16) -> nn.Linear:
    torch.manual_seed(0)
    linear = nn.Linear(columns, rows, dtype=dtype).requires_grad_(False)
    linear.weight.normal_()
    groups = linear.weight.view(-1, 4)
    groups.scatter_(1, groups.abs().argsort(dim=1)[:, :2], 0)
    return linear


def through_pytorchs_layout(weight: Tensor) -> Tensor:
    """The layout that the GPU's kernels read, and back: the same conversion as to_sparse_semi_structured makes."""
    values, indices = conversions.sparse_semi_structured_from_dense_cutlass(weight)
    assert values.numel() == weight.numel() // 2
    return conversions.sparse_semi_structured_to_dense_cutlass(values, indices)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_pytorchs_layout_holds_our_weights_exactly(dtype: torch.dtype) -> None:
    weight = two_of_four(dtype=dtype).weight.detach()
    weight[0, :8] = 0
    assert torch.equal(through_pytorchs_layout(weight), weight)


def test_a_layer_whose_outputs_agree_is_changed() -> None:
    linear = two_of_four()
    before = linear.weight
    assert semi_structure(linear, through_pytorchs_layout)
    assert linear.weight is not before
    assert torch.equal(linear.weight, before)


@pytest.mark.parametrize("wrong", [lambda weight: weight.roll(1, 0), lambda weight: weight * torch.nan])
def test_a_layer_whose_outputs_differ_stays_dense(wrong: object, caplog: pytest.LogCaptureFixture) -> None:
    assert callable(wrong)
    linear = two_of_four()
    before = linear.weight
    with caplog.at_level(logging.WARNING):
        assert not semi_structure(linear, wrong)
    assert linear.weight is before
    assert "stays dense" in caplog.text


def test_two_of_four_is_seen_by_groups_of_a_row() -> None:
    assert is_two_of_four(torch.tensor([[1.0, 0, 0, 2, 0, 0, 0, 0]]))
    assert not is_two_of_four(torch.tensor([[0.0, 0, 1, 2, 3, 0, 0, 0], [1, 2, 3, 0, 0, 0, 0, 0]]))
    assert not is_two_of_four(torch.ones(2, 6))


def test_what_the_kernels_do_not_take_stays_dense() -> None:
    assert fits(two_of_four().weight)
    assert not fits(two_of_four(dtype=torch.float32).weight)
    assert not fits(two_of_four(rows=33).weight)
    assert not fits(two_of_four(columns=96).weight)
    assert not fits(nn.Linear(128, 64, dtype=torch.bfloat16).weight)
    linear = two_of_four(dtype=torch.float32)
    assert not semi_structure(linear)
