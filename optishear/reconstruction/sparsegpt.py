"""SparseGPT (arXiv 2301.00774): prune column by column and let the later columns make up for each error."""

from collections.abc import Sequence

import torch
from torch import Tensor

from optishear.masks.kth_value import bits_of_magnitudes, kth_smallest
from optishear.masks.select import check_group_divides, group_mask
from optishear.pattern import Pattern

BLOCK_SIZE = 128
# Share of the mean of H's diagonal that is added to it, as published.
DAMPING = 0.01
# Rows of a product in float64 that are in memory at a time.
_ROWS_AT_ONCE = 256


def inverse_factor(moment: Tensor, damping: float = DAMPING) -> Tensor:
    """The upper Cholesky factor U of the inverse of the damped second moment, H^-1 = U^T U.

    Args:
        moment: [in, in] float, second moment of the layer's input, in any scale.
        damping: share of the mean of the diagonal that is added to it.

    Returns:
        [in, in] of the moment's dtype. An input that was always zero counts as independent of the others, with
        a moment of one. It is computed in float64, whose rounding does not depend on the number of threads where it
        matters. Where rounding leaves a matrix without a factor, the damping is ten times as much, and so on.
    """
    damped = moment.to(torch.float64, copy=True)
    diagonal = damped.diagonal()
    diagonal[diagonal == 0] = 1
    diagonal += damping * diagonal.mean()
    # With as much damping as one every finite second moment has a factor.
    is_last_try = damping >= 1
    lower, failed = torch.linalg.cholesky_ex(damped, check_errors=is_last_try)
    del damped  # twice as large as the moment
    if not failed:
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True, check_errors=is_last_try)
        if not failed:
            return factor.to(moment.dtype)
    return inverse_factor(moment, 10 * damping)


def sparsegpt(
    weight: Tensor,
    moment: Tensor,
    pattern: Pattern,
    *,
    sparsity: float | Sequence[float] | None = None,
    mask: Tensor | None = None,
    factor: Tensor | None = None,
    block_size: int = BLOCK_SIZE,
) -> tuple[Tensor, Tensor]:
    """Prune one layer by the published algorithm, or several of one shape, stacked before ``out``.

    Unstructured masks are chosen within each block of columns, over all rows together, by W^2 / U_jj^2; N:M masks
    group by group, by the weights as they are when the group is reached.

    Args:
        weight: [out, in] float32 or float64, the dense weight; not changed.
        moment: [in, in] of the same dtype, second moment of its input.
        pattern: unstructured or N:M.
        sparsity: fraction to prune of an unstructured layer, from the pattern where not given; of each layer of a
            stack.
        mask: [out, in] bool, True where kept; chosen by the algorithm where not given.
        factor: ``inverse_factor(moment)``, where several layers share it.
        block_size: columns of one block.

    Returns:
        The new weight, exactly zero where pruned, and the mask.

    Raises:
        InputError: if the pattern's group does not divide the number of inputs.
    """
    width = weight.shape[-1]
    group, kept_per_group = pattern.group, pattern.kept
    if mask is None and group is not None and kept_per_group is not None:
        check_group_divides(width, kept_per_group, group)
        # A group is chosen by up-to-date weights, so it must not cross into the next block.
        block_size = max(block_size // group, 1) * group
    upper = inverse_factor(moment) if factor is None else factor
    share = pattern.fraction if sparsity is None else sparsity
    updated = weight.clone()
    updated.masked_fill_((moment.diagonal(dim1=-2, dim2=-1) == 0).unsqueeze(-2), 0)
    support = torch.ones_like(weight, dtype=torch.bool) if mask is None else mask.clone()
    for start in range(0, width, block_size):
        end = min(start + block_size, width)
        block = updated[..., start:end].clone()
        inner = upper[..., start:end, start:end]
        diagonal = inner.diagonal(dim1=-2, dim2=-1)
        keep = support[..., start:end]
        errors = torch.zeros_like(block)
        if mask is None and group is None:
            keep.copy_(_all_but_lowest(block.square() / diagonal.square().unsqueeze(-2), share))
        for column in range(end - start):
            if mask is None and group is not None and kept_per_group is not None and column % group == 0:
                columns = slice(column, column + group)
                scores = block[..., columns].square() / diagonal[..., columns].square().unsqueeze(-2)
                keep[..., columns] = group_mask(scores.flatten(0, -2), kept_per_group, group).view_as(scores)
            masked = block[..., column] * keep[..., column]
            error = (block[..., column] - masked) / diagonal[..., column, None]
            _subtract_outer(block[..., column + 1 :], error, inner[..., column, column + 1 :])
            block[..., column] = masked
            errors[..., column] = error
        updated[..., start:end] = block
        _subtract_product(updated[..., end:], errors, upper[..., start:end, end:])
    # Products with the mask leave negative zeros, which formats keep.
    return updated.masked_fill_(~support, 0), support


def _subtract_outer(values: Tensor, column: Tensor, row: Tensor) -> None:
    """Subtract the product of a column and a row in place; of each in a stack."""
    if values.ndim == 2:
        values.addr_(column, row, alpha=-1)
    else:
        values.sub_(column.unsqueeze(-1) * row.unsqueeze(-2))


def _subtract_product(values: Tensor, left: Tensor, right: Tensor) -> None:
    """Subtract the product of two matrices in place; of each in a stack.

    In float64, some rows at a time: on some processors the rounding in float32 depends on the number of threads.
    """
    exact = right.double()
    for rows, of_rows in zip(values.split(_ROWS_AT_ONCE, dim=-2), left.split(_ROWS_AT_ONCE, dim=-2), strict=True):
        rows.sub_(of_rows.double() @ exact)


def _all_but_lowest(scores: Tensor, share: float | Sequence[float]) -> Tensor:
    """True but for the lowest share of all scores; what equals the threshold goes too, as published."""
    if not isinstance(share, float | int):
        return torch.stack([_all_but_lowest(rows, one) for rows, one in zip(scores, share, strict=True)])
    position = int(scores.numel() * share)
    if position == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    bits = bits_of_magnitudes(scores)
    return bits > kth_smallest(bits, min(position + 1, scores.numel()))
