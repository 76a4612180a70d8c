"""One tensor as a bitmask and the values that are kept, and back, bit for bit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optishear.errors import InputError

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Bitmask:
    """A packed tensor.

    What is left out are the elements whose bits are all zero. So a negative zero is kept, as is whatever is not a
    number, and unpacking gives back the very bits.

    Attributes:
        bits: [ceil(n / 8)] uint8 for n elements; element i in row-major order is kept where bit i % 8 of byte i // 8
            is set, bit 0 being the lowest. Bits beyond the last element are zero.
        values: [kept], the kept elements in row-major order, in the tensor's dtype.
    """

    bits: Tensor
    values: Tensor


def pack(tensor: Tensor) -> Bitmask:
    """Pack a tensor of any shape and dtype."""
    flat = tensor.contiguous().view(-1)
    integers = flat.view(_INTEGERS[flat.dtype.itemsize])
    nonzero = integers != 0
    bits = np.packbits(nonzero.numpy(), bitorder="little")
    return Bitmask(torch.from_numpy(bits), integers[nonzero].view(flat.dtype))


def unpack(packed: Bitmask, shape: Sequence[int]) -> Tensor:
    """The tensor of a shape that was packed.

    Raises:
        InputError: if bits, values and shape do not belong together.
    """
    count = math.prod(shape)
    if packed.bits.numel() != -(-count // 8):
        raise InputError(
            f"A bitmask of {packed.bits.numel()} bytes is not that of {count} weights; write the checkpoint again."
        )
    mask = torch.from_numpy(np.unpackbits(packed.bits.numpy(), count=count, bitorder="little").view(np.bool_))
    if int(mask.sum()) != packed.values.numel():
        raise InputError(
            f"A bitmask keeps {int(mask.sum())} weights, but there are {packed.values.numel()} values; "
            "write the checkpoint again."
        )
    integer = _INTEGERS[packed.values.dtype.itemsize]
    dense = torch.zeros(count, dtype=integer)
    dense.masked_scatter_(mask, packed.values.view(integer))
    return dense.view(packed.values.dtype).view(*shape)


def is_smaller_packed(tensor: Tensor) -> bool:
    """Whether packing saves bytes: for bfloat16, once more than one element in 16 is zero."""
    integers = tensor.contiguous().view(-1).view(_INTEGERS[tensor.dtype.itemsize])
    return packed_bytes(tensor.numel(), int(integers.count_nonzero()), tensor.dtype) < tensor.nbytes


def packed_bytes(count: int, nonzero: int, dtype: torch.dtype) -> int:
    """Bytes of a packed tensor of ``count`` elements, ``nonzero`` of them not zero."""
    return -(-count // 8) + nonzero * dtype.itemsize
