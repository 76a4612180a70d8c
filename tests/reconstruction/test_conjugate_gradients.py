import itertools

import pytest
import torch
from torch import Tensor

from optishear.reconstruction.conditioning import condition
from optishear.reconstruction.conjugate_gradients import conjugate_gradients

from .conftest import DAMPING, Layer


def least_squares(target: Tensor, moment: Tensor, mask: Tensor) -> Tensor:
    """The best weights of each row on its support, from the normal equations of that row."""
    best = torch.zeros_like(target)
    for row in range(len(target)):
        kept = mask[row].nonzero().squeeze(1)
        if len(kept):
            best[row, kept] = torch.linalg.solve(moment[kept][:, kept], moment[kept] @ target[row])
    return best


@pytest.fixture
def mask(layer: Layer) -> Tensor:
    mask = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(2)) < 0.4
    mask[3] = False
    mask[4] = True
    return mask


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_reaches_the_least_squares_solution(layer: Layer, mask: Tensor, dtype: torch.dtype) -> None:
    conditioned = condition(layer.moment, DAMPING)
    target = conditioned.into(layer.weight)
    expected = least_squares(target, conditioned.moment, mask)
    found, converged = conjugate_gradients(
        target.to(dtype), conditioned.moment.to(dtype), mask, target.to(dtype), iterations=300, tolerance=1e-7
    )
    torch.testing.assert_close(found, expected.to(dtype), rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 1e-6)
    assert (found[~mask] == 0).all()
    assert converged.all()
    _, soon = conjugate_gradients(
        target.to(dtype), conditioned.moment.to(dtype), mask, target.to(dtype), iterations=1, tolerance=1e-7
    )
    # Nothing is to be found where all weights are kept, or none.
    assert soon.nonzero().flatten().tolist() == [3, 4]


def test_a_row_without_pruned_weights_becomes_the_dense_row(layer: Layer, mask: Tensor) -> None:
    conditioned = condition(layer.moment, DAMPING)
    target = conditioned.into(layer.weight)
    found, _ = conjugate_gradients(target, conditioned.moment, mask, target * 0, iterations=300, tolerance=1e-10)
    torch.testing.assert_close(found[4], target[4])


def test_the_error_never_rises_and_the_tolerance_ends_it(layer: Layer, mask: Tensor) -> None:
    conditioned = condition(layer.moment, DAMPING)
    target = conditioned.into(layer.weight)
    errors = []
    for iterations in range(12):
        found, _ = conjugate_gradients(target, conditioned.moment, mask, target, iterations=iterations, tolerance=0)
        errors.append(float(((target - found) @ conditioned.moment * (target - found)).sum()))
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(errors))
    start = target * mask
    same, converged = conjugate_gradients(target, conditioned.moment, mask, start, iterations=9, tolerance=1e3)
    assert torch.equal(same, start)
    assert converged.all()
