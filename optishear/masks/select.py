"""Masks from scores: which weights are kept. True is kept, False is pruned, in every mask of the project."""

import numpy as np
import torch
from torch import Tensor

from optishear.errors import InputError
from optishear.pattern import Pattern

# Finite negative numbers, and -0.0, are further below.
_BITS_OF_MINUS_INFINITY = int(np.float32(-np.inf).view(np.int32))


def keep_mask(scores: Tensor, pattern: Pattern, pruned_per_row: int | None = None) -> Tensor:
    """The mask of a layer under a pattern.

    Args:
        scores: [out, in] float; no NaN (``optishear.metrics.score.scores`` gives none).
        pattern: unstructured or N:M.
        pruned_per_row: weights to prune in each row, a multiple of the number of groups for an N:M pattern; from the
            pattern's sparsity where not given.

    Returns:
        [out, in] bool, True where the weight is kept.
    """
    if pattern.group is not None and pruned_per_row is not None:
        pattern = pattern.pruning(pruned_per_row, scores.shape[1])
    if pattern.group is not None and pattern.kept is not None:
        return group_mask(scores, pattern.kept, pattern.group)
    if pruned_per_row is None:
        pruned_per_row = round(pattern.fraction * scores.shape[1])
    return row_mask(scores, pruned_per_row)


def row_mask(scores: Tensor, pruned_per_row: int) -> Tensor:
    """Prune the ``pruned_per_row`` lowest scores of each row; among equal scores the first columns go first.

    A partial selection finds each row's threshold (introselect, linear in the row's length); only rows with
    equal scores at the threshold are sorted.
    """
    if not 0 < pruned_per_row < scores.shape[1]:
        return torch.full_like(scores, pruned_per_row <= 0, dtype=torch.bool)
    mask = scores > _row_thresholds(scores, pruned_per_row)
    kept_per_row = scores.shape[1] - pruned_per_row
    # A tie at the threshold prunes too many; such rows are rare, except for plain magnitude on quantized weights.
    if _count(mask) == len(mask) * kept_per_row:
        return mask
    tied = (mask.sum(dim=1) != kept_per_row).nonzero().squeeze(1)
    if len(tied):
        order = torch.argsort(scores[tied], dim=1, stable=True)
        repaired = torch.ones_like(mask[tied])
        mask[tied] = repaired.scatter_(1, order[:, :pruned_per_row], False)
    return mask


def _count(mask: Tensor) -> int:
    # numpy counts booleans several times faster than PyTorch on a CPU.
    return int(np.count_nonzero(mask.numpy()) if mask.device.type == "cpu" else torch.count_nonzero(mask))


def _row_thresholds(scores: Tensor, pruned_per_row: int) -> Tensor:
    """The ``pruned_per_row``-th lowest score of each row, [out, 1].

    On the CPU by numpy's partition, which uses vector instructions but one core, and releases the interpreter
    lock: who wants more gives blocks of rows to several threads.
    """
    if scores.device.type != "cpu":
        return torch.kthvalue(scores, pruned_per_row, dim=1, keepdim=True).values
    values = scores.numpy()
    if scores.dtype == torch.float32:
        # Bits of floats that are not negative order as integers do, which are selected more than twice as fast.
        # Scores are not negative, but for minus infinity, whose bits are below all of theirs.
        bits = values.view(np.int32)
        if bits.min() >= _BITS_OF_MINUS_INFINITY:
            values = bits
    thresholds = np.partition(values, pruned_per_row - 1, axis=1)[:, pruned_per_row - 1 : pruned_per_row]
    return torch.from_numpy(np.ascontiguousarray(thresholds).view(scores.numpy().dtype))


def group_mask(scores: Tensor, kept_per_group: int, group: int) -> Tensor:
    """Keep the ``kept_per_group`` highest scores of every ``group`` consecutive inputs.

    Of equal scores the first columns are pruned.

    Raises:
        InputError: if the group does not divide the row length.
    """
    check_group_divides(scores.shape[1], kept_per_group, group)
    groups = scores.reshape(-1, group)
    if group > 8:
        order = torch.argsort(groups, dim=1, stable=True)
        mask = torch.ones_like(groups, dtype=torch.bool)
        return mask.scatter_(1, order[:, : group - kept_per_group], False).reshape(scores.shape)
    # For small groups, counting for each weight how many go before it is many times faster than a sort.
    columns = groups.unbind(dim=1)
    mask = torch.empty_like(groups, dtype=torch.bool)
    for position, column in enumerate(columns):
        lower = torch.zeros_like(column, dtype=torch.int8)
        for other, compared in enumerate(columns):
            if other != position:
                lower += (compared <= column) if other < position else (compared < column)
        mask[:, position] = lower >= group - kept_per_group
    return mask.reshape(scores.shape)


def check_group_divides(width: int, kept_per_group: int, group: int, layer: str = "the layer") -> None:
    """Refuse an N:M pattern that does not fit a layer's input width.

    Raises:
        InputError: if ``group`` does not divide ``width``.
    """
    if width % group:
        raise InputError(
            f"The pattern {kept_per_group}:{group} does not divide the {width} inputs of {layer}; "
            f"choose an M that divides {width}."
        )


def row_ranks(scores: Tensor) -> Tensor:
    """Each weight's rank in its row, from 0 for the first to be pruned; equal scores rank by column.

    Returns:
        [out, in] int16 where rows are shorter than 2^15, else int32, so that ``ranks >= k`` is the mask that
        prunes k of each row, for every k.
    """
    order = _order(scores)
    ranks = empty_ranks(scores)
    positions = torch.arange(scores.shape[1], device=scores.device, dtype=ranks.dtype).expand_as(order)
    return ranks.scatter_(1, order, positions)


def _order(scores: Tensor) -> Tensor:
    """The columns of each row from its lowest score to its highest, [out, in] int64; equal scores by column."""
    if scores.device.type == "cpu" and scores.dtype == torch.float32:
        bits = scores.numpy().view(np.int32)
        if bits.min() >= _BITS_OF_MINUS_INFINITY:
            # Integers with the score above the column are sorted by vector instructions, and no two are equal: some
            # four times as fast as a stable sort of the scores that carries the columns along.
            keys = bits.astype(np.int64)
            keys <<= 32
            keys |= np.arange(keys.shape[1])
            keys.sort(axis=1)
            keys &= 2**32 - 1
            return torch.from_numpy(keys)
    return torch.argsort(scores, dim=1, stable=True)


def empty_ranks(like: Tensor) -> Tensor:
    """Room for the ranks of a weight or of scores, [out, in]."""
    dtype = torch.int16 if like.shape[1] < 2**15 else torch.int32
    return torch.empty_like(like, dtype=dtype, memory_format=torch.contiguous_format)
