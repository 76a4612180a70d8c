"""The k-th smallest magnitude, against a sort."""

import pytest
import torch

from optishear.masks import kth_value
from optishear.masks.kth_value import bits_of_magnitudes, kth_smallest

RANKS = [1, 2, 50, 499, 500, 999, 1000]


@pytest.mark.parametrize("chunk", [64, 2**18])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_is_that_of_a_sort(dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kth_value._CHUNK, "cpu", chunk)
    values = torch.randn(20, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    values[3], values[4, :7], values[5, 5] = 0.25, 0.0, -torch.inf
    ordered = values.abs().flatten().sort().values
    bits = bits_of_magnitudes(values)
    for rank in RANKS:
        assert kth_smallest(bits, rank).view(dtype) == ordered[rank - 1]


def test_what_is_not_a_number_is_the_largest() -> None:
    bits = bits_of_magnitudes(torch.tensor([1.0, torch.nan, -2.0, -torch.inf]))
    assert [float(kth_smallest(bits, rank).view(torch.float32)) for rank in (1, 2, 3)] == [1.0, 2.0, torch.inf]
    assert kth_smallest(bits, 4).view(torch.float32).isnan()


def test_all_equal() -> None:
    bits = bits_of_magnitudes(torch.full((7,), 1e-40))
    assert all(kth_smallest(bits, rank) == bits[0] for rank in range(1, 8))
