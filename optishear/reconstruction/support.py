"""Which weights of a layer stay, by their size in the units of the error: N:M groups, or any of the whole layer."""

import torch
from torch import Tensor

from optishear.masks.kth_value import bits_of_magnitudes, kth_smallest
from optishear.masks.select import group_mask
from optishear.pattern import Pattern


def largest(values: Tensor, pattern: Pattern, sparsity: float) -> Tensor:
    """Keep the largest values of each group, or of the layer.

    Without a pattern's groups the rows need not all lose alike: a row that matters little may lose more. With the
    reconstruction of the kept weights, this is worth as much as a better metric.

    Args:
        values: [out, in] float; their size decides.
        pattern: unstructured or N:M.
        sparsity: fraction of an unstructured layer to prune; the pattern's own decides otherwise.

    Returns:
        [out, in] bool, True where kept.
    """
    if pattern.group is not None and pattern.kept is not None:
        return group_mask(values.abs(), pattern.kept, pattern.group)
    pruned = round(sparsity * values.numel())
    if pruned == 0:
        return torch.ones_like(values, dtype=torch.bool)
    sizes = bits_of_magnitudes(values).contiguous()
    threshold = kth_smallest(sizes, pruned)
    mask = sizes > threshold
    surplus = values.numel() - pruned - int(torch.count_nonzero(mask))
    if surplus:
        # Equals at the threshold: the first go first, as everywhere else.
        equals = (sizes.view(-1) == threshold).nonzero().squeeze(1)
        mask.view(-1)[equals[len(equals) - surplus :]] = True
    return mask
