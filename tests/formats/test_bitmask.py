"""The closed form of the packed layout, then the property (bits come back), then the odd inputs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from optishear.errors import InputError
from optishear.formats.bitmask import Bitmask, is_smaller_packed, pack, packed_bytes, unpack

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits_of(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(INTEGERS[tensor.dtype.itemsize])


def test_the_layout() -> None:
    packed = pack(torch.tensor([[0.0, 1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0, 3.0]]))
    # Elements 1 and 4 in byte 0, element 9 in byte 1.
    assert packed.bits.tolist() == [0b00010010, 0b00000010]
    assert packed.bits.dtype == torch.uint8
    assert packed.values.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.float8_e4m3fn], ids=str
)
@given(
    seed=st.integers(0, 1000),
    share=st.sampled_from([0.0, 0.5, 0.97, 1.0]),
    rows=st.integers(1, 5),
    columns=st.integers(1, 19),
)
def test_every_bit_comes_back(dtype: torch.dtype, seed: int, share: float, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    integers = torch.randint(-128, 128, (rows, columns * dtype.itemsize), generator=generator, dtype=torch.int8)
    # Any bits at all: infinities, subnormal numbers, and numbers that are none among them.
    tensor = integers.view(dtype)
    tensor = torch.where(torch.rand(rows, columns, generator=generator) < share, torch.zeros((), dtype=dtype), tensor)
    packed = pack(tensor)
    assert packed.bits.nbytes + packed.values.nbytes == packed_bytes(tensor.numel(), packed.values.numel(), dtype)
    again = unpack(packed, tensor.shape)
    assert again.dtype == dtype
    assert torch.equal(bits_of(again), bits_of(tensor))


def test_negative_zero_and_no_number_are_kept_and_zero_is_not() -> None:
    tensor = torch.tensor([[-0.0, 0.0, math.nan, math.inf]], dtype=torch.bfloat16)
    packed = pack(tensor)
    assert packed.bits.tolist() == [0b1101]
    assert torch.equal(bits_of(unpack(packed, (1, 4))), bits_of(tensor))


def test_a_transposed_tensor_is_packed_as_it_is_seen() -> None:
    tensor = torch.tensor([[1.0, 0.0], [2.0, 0.0]]).T
    assert torch.equal(unpack(pack(tensor), (2, 2)), tensor)


@pytest.mark.parametrize(("zeros", "smaller"), [(0, False), (64, False), (65, True), (1024, True)])
def test_packing_pays_from_one_zero_in_sixteen_on(zeros: int, smaller: bool) -> None:
    tensor = torch.ones(32, 32, dtype=torch.bfloat16)
    tensor.view(-1)[:zeros] = 0
    assert is_smaller_packed(tensor) is smaller


@pytest.mark.parametrize("kept", [1, 2])
def test_a_group_of_four_takes_no_more_than_two_bits_an_index_would(kept: int) -> None:
    """2:4 with an index of two bits for each kept weight is four bits a group, as the mask is."""
    tensor = torch.zeros(8, 4, dtype=torch.bfloat16)
    tensor[:, :kept] = 1
    assert pack(tensor).bits.nbytes * 8 == 8 * 4


@pytest.mark.parametrize(
    ("bits", "values", "sentence"),
    [
        ([1, 0], [1.0], "A bitmask of 2 bytes is not that of 8 weights"),
        ([3], [1.0], "keeps 2 weights, but there are 1"),
    ],
)
def test_what_does_not_belong_together_is_refused(bits: list[int], values: list[float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        unpack(Bitmask(torch.tensor(bits, dtype=torch.uint8), torch.tensor(values)), (2, 4))
