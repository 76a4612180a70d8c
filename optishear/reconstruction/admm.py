"""Mask and weights together by the alternating direction method of multipliers (ALPS, arXiv 2406.07831).

Minimise tr((W - V) H (W - V)^T) over V with so many nonzeros in each row or group. V is split into a copy that follows
the error and a copy D that meets the constraint; the scaled dual variable U remembers how far they disagree:

    V = (W H + r (D - U)) (H + r I)^-1,   D = the largest of V + U,   U = U + V - D

(2401.02938 has the same with the mask fixed.) All rows at a time; the inverse is shared by layers with one input.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def admm(
    target: Tensor,
    moment: Tensor,
    inverse: Tensor,
    shift: float,
    mask: Tensor,
    *,
    iterations: int,
    refinements: int = 0,
    select: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Reconstruct one layer, in the units of ``Conditioned``; or several of one shape, stacked before ``out``.

    Args:
        target: [out, in] float, the dense weight in these units.
        moment: [in, in], second moment of the layer's input, of ``Conditioned``.
        inverse: its ``shifted_inverse(shift)``.
        shift: r, the penalty on disagreement.
        mask: [out, in] bool, the first support, True where kept.
        iterations: of the method; a product [out, in] x [in, in] each.
        refinements: iterations, from the first, in which the support may move.
        select: the support [out, in] bool from values [out, in], where it may move.

    Returns:
        The weight in these units, exactly zero outside the support, and the support.
    """
    # The part of V that never changes.
    pulled = (target @ moment) @ inverse
    allowed = target * mask
    dual = torch.zeros_like(target)
    for iteration in range(iterations):
        free = add_product(pulled, allowed - dual, inverse, alpha=shift)
        dual += free
        if iteration < refinements and select is not None:
            mask = select(dual)
        allowed = dual * mask
        dual -= allowed
    return allowed, mask


def add_product(to: Tensor, left: Tensor, right: Tensor, alpha: float) -> Tensor:
    """``to + alpha * left @ right`` of matrices, or of stacks of matrices."""
    if to.ndim == 2:
        return torch.addmm(to, left, right, alpha=alpha)
    return torch.baddbmm(to, left, right, alpha=alpha)
