"""An order of the input channels in which an N:M pattern prunes less."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# Rows beyond this many are sampled at equal distances; all of them decide whether the order is taken.
_SAMPLED_ROWS = 2048
_PASSES = 2


def best_order(importance: Tensor, kept: int, group: int) -> Tensor:
    """An order of the columns in which the N most important of each M hold more than in the given order.

    The start deals the columns to the groups by their sums, as RIA's channel permutation does (Zhang et al. 2024,
    "Plug-and-Play", section 4.2). Then one column of each group is assigned again, for each place in turn: with the
    others of a group fixed, the kept sum is that of their N - 1 largest and max(b, x), b their N-th largest and x the
    new column. Since max(b, x) = (b + x + |b - x|) / 2, the best assignment has the largest sum of L1 distances
    between columns and groups. No step makes the kept sum of the sampled rows smaller.

    Args:
        importance: [rows, columns] non-negative, what is lost where a weight is pruned.
        kept: N.
        group: M; it divides the number of columns.

    Returns:
        [columns] int64 on the CPU; the given order if none better was found.
    """
    columns = importance.shape[1]
    given = torch.arange(columns)
    step = max(1, -(-len(importance) // _SAMPLED_ROWS))
    values = importance[::step].double().T.contiguous()  # [columns, rows]
    by_sum = torch.argsort(values.sum(dim=1), descending=True, stable=True)
    groups = by_sum.reshape(group, columns // group).T.contiguous()  # [groups, M]
    for _ in range(_PASSES):
        for place in range(group):
            others = torch.cat([groups[:, :place], groups[:, place + 1 :]], dim=1)
            largest = values[others].topk(kept, dim=1).values  # [groups, N, rows]
            distances = torch.cdist(largest[:, -1], values[groups[:, place]], p=1)
            _, assigned = linear_sum_assignment(distances.cpu().numpy(), maximize=True)
            groups[:, place] = groups[torch.from_numpy(np.asarray(assigned)).to(groups.device), place]
    order = groups.flatten().cpu()
    better = kept_sum(importance[:, order.to(importance.device)], kept, group) > kept_sum(importance, kept, group)
    return order if better else given


def kept_sum(importance: Tensor, kept: int, group: int) -> float:
    """The sum over the N largest of each M consecutive columns, [rows, columns]."""
    grouped = importance.reshape(len(importance), -1, group)
    return float(grouped.topk(kept, dim=2).values.sum(dtype=torch.float64))
