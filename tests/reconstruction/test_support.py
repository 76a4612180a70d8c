"""The largest values of a layer, against a stable sort."""

import pytest
import torch

from optishear.pattern import Pattern
from optishear.reconstruction.support import largest


@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.3, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("distinct", [False, True])
def test_of_equals_at_the_threshold_the_first_go_first(sparsity: float, distinct: bool) -> None:
    values = torch.randn(24, 40, generator=torch.Generator().manual_seed(1))
    if not distinct:
        values = (values * 2).round()
    pruned = round(sparsity * values.numel())
    expected = torch.ones(values.numel(), dtype=torch.bool)
    expected[values.abs().flatten().argsort(stable=True)[:pruned]] = False
    assert torch.equal(largest(values, Pattern(0.5), sparsity), expected.view_as(values))


def test_a_transposed_layer() -> None:
    values = torch.randn(40, 24, generator=torch.Generator().manual_seed(1)).round().T
    assert torch.equal(largest(values, Pattern(0.5), 0.5), largest(values.contiguous(), Pattern(0.5), 0.5))
