"""Weights with zeros where a mask prunes them."""

import torch
from torch import Tensor


def write_masked(dense: Tensor, mask: Tensor, out: Tensor) -> None:
    """Write a weight to ``out`` with zeros where the mask is False, even where the weight is not finite.

    A bitwise and on the CPU is several times faster than the product of a 16-bit float with a boolean.

    Args:
        dense: [out, in], any floating dtype.
        mask: [out, in] bool.
        out: [out, in], of the same dtype; may be ``dense`` itself.
    """
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dense.element_size()]
    ones_where_kept = mask.view(torch.uint8).to(integer).neg_()
    torch.bitwise_and(dense.view(integer), ones_where_kept, out=out.view(integer))
