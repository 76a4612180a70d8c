"""The best weights on a given support, by conjugate gradients on all rows at a time."""

import torch
from torch import Tensor


def conjugate_gradients(
    target: Tensor, moment: Tensor, mask: Tensor, start: Tensor, *, iterations: int, tolerance: float = 1e-3
) -> tuple[Tensor, Tensor]:
    """Minimise tr((W - V) H (W - V)^T) over V that is zero outside the mask.

    Each row is a problem of its own; they share the products with H. Layers of one shape may be stacked before ``out``.

    Args:
        target: W [out, in] float32 or float64.
        moment: H [in, in] of the same dtype, positive definite, best with a diagonal of one.
        mask: [out, in] bool, True where V may differ from zero.
        start: first V [out, in], zero outside the mask.
        iterations: at most so many; a product [out, in] x [in, in] each.
        tolerance: the norm of a row's remaining gradient, relative to that of V = 0, at which the row is done.

    Returns:
        V [out, in], exactly zero outside the mask, and for each row [out] bool whether it reached the tolerance.
    """
    support = mask.to(target.dtype)
    solution = start * support
    residual = ((target - solution) @ moment).mul_(support)
    enough = ((target @ moment) * support).square().sum(dim=-1, keepdim=True) * tolerance**2
    direction = residual.clone()
    size = residual.square().sum(dim=-1, keepdim=True)
    for _ in range(iterations):
        active = size > enough
        if not bool(active.any()):
            break
        product = (direction @ moment).mul_(support)
        curvature = (direction * product).sum(dim=-1, keepdim=True)
        step = torch.where(active & (curvature > 0), size / curvature, 0)
        solution.addcmul_(step, direction)
        residual.addcmul_(step, product, value=-1)
        next_size = residual.square().sum(dim=-1, keepdim=True)
        # A row that is done stays as it is.
        direction = torch.where(active, residual + direction * (next_size / size.clamp_min(1e-38)), direction)
        size = torch.where(active, next_size, size)
    return solution, (size <= enough).squeeze(-1)
