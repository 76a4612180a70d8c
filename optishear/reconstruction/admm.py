"""Mask and weights together by the alternating direction method of multipliers (ALPS, arXiv 2406.07831).

Minimise tr((W - V) H (W - V)^T) over V with so many nonzeros in each row or group. V is split into a copy that follows
the error and a copy D that meets the constraint; the scaled dual variable U remembers how far they disagree:

    V = (W H + r (D - U)) (H + r I)^-1,   D = the largest of V + U,   U = U + V - D

(2401.02938 has the same with the mask fixed.) All rows at a time; the inverse is shared by layers with one input.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from optishear.reconstruction.conditioning import Conditioned


def admm(
    target: Tensor,
    conditioned: Conditioned,
    inverse: Tensor,
    shift: float,
    mask: Tensor,
    *,
    iterations: int,
    refinements: int = 0,
    select: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Reconstruct one layer, in the units of ``conditioned``.

    Args:
        target: [out, in] float, the dense weight in these units.
        conditioned: the second moment of the layer's input.
        inverse: ``conditioned.shifted_inverse(shift)``.
        shift: r, the penalty on disagreement.
        mask: [out, in] bool, the first support, True where kept.
        iterations: of the method; a product [out, in] x [in, in] each.
        refinements: iterations, from the first, in which the support may move.
        select: the support [out, in] bool from values [out, in], where it may move.

    Returns:
        The weight in these units, exactly zero outside the support, and the support.
    """
    # The part of V that never changes.
    pulled = (target @ conditioned.moment) @ inverse
    allowed = target * mask
    dual = torch.zeros_like(target)
    for iteration in range(iterations):
        free = torch.addmm(pulled, allowed - dual, inverse, alpha=shift)
        dual += free
        if iteration < refinements and select is not None:
            mask = select(dual)
        allowed = dual * mask
        dual -= allowed
    return allowed, mask
