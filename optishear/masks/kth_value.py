"""The k-th smallest of many magnitudes, without sorting them: by counts of the bits of floating-point numbers.

The bits of numbers that are not negative order as integers do. Each pass counts the numbers by some of their bits, from
the highest on, and narrows the search to those that begin as the wanted one does. ``torch.kthvalue`` gives the same
number, with one block of threads for a whole tensor on a GPU.
"""

import torch
from torch import Tensor

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
# Bits of one pass: as many counts fit the memory that a GPU's threads share.
_DIGIT = 11
# Numbers that are counted at a time; on a CPU they stay in its caches.
_CHUNK = {"cpu": 2**18, "cuda": 2**24}


def bits_of_magnitudes(values: Tensor) -> Tensor:
    """Integers that order as the magnitudes do, of the same shape; what is not a number is the largest."""
    integer = _INTEGERS[values.element_size()]
    return values.abs().view(integer)


def kth_smallest(bits: Tensor, k: int) -> Tensor:
    """The k-th smallest of some integers that are not negative.

    Args:
        bits: integers from ``bits_of_magnitudes``, of any shape.
        k: from 1 to their number.

    Returns:
        A tensor without dimensions, on their device.
    """
    chunks = bits.reshape(-1).split(_CHUNK.get(bits.device.type, _CHUNK["cuda"]))
    found, rank = 0, k
    low = 8 * bits.element_size() - 1
    while low > 0:
        high, low = low, max(0, low - _DIGIT)
        counts = _counts_below(chunks, found, high, low)
        ends = counts.cumsum(0)
        digit = int(torch.count_nonzero(ends < rank))
        rank -= int(ends[digit] - counts[digit])
        found |= digit << low
    return torch.tensor(found, dtype=bits.dtype, device=bits.device)


def _counts_below(chunks: tuple[Tensor, ...], found: int, high: int, low: int) -> Tensor:
    """How many numbers have each value of the bits from ``low`` to ``high``; those with other higher bits do not count.

    Args:
        chunks: the numbers.
        found: a number with the higher bits that count.
        high: the first of the higher bits.
        low: the first bit of the values.
    """
    values = 2 ** (high - low)
    counts = torch.zeros(values + 1, dtype=torch.int64, device=chunks[0].device)
    for chunk in chunks:
        # Numbers that begin otherwise are counted apart, behind the last value.
        digits = (chunk - found).bitwise_right_shift_(low)
        digits.masked_fill_((digits < 0) | (digits >= values), values)
        counts += torch.bincount(digits.to(torch.int32), minlength=values + 1)
    return counts[:values]
