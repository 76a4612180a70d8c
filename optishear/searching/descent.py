"""Gradient descent on the sparsity ratios, from which the ratio search starts.

At the best ratios, one more pruned weight costs the same in every layer. Otherwise, pruning less in expensive layers
and more in cheap ones reduces the divergence. Each step measures the costs on the next calibration sequences and moves
the ratios against them, as in stochastic gradient descent. The costs are standardised, clipped and averaged with the
previous step, and the step width decreases.
"""

import math

import torch
from torch import Tensor

# Change of a ratio in the first step, for a layer whose cost is one standard deviation from the mean.
STEP_WIDTH = 0.04
# Costs are clipped to this many standard deviations from the mean.
CLIP = 2.0
MOMENTUM = 0.5


class RatioDescent:
    """Gradient descent on the sparsity ratios.

    Attributes:
        ratios: [groups] float64, the current ratios before rounding to whole weights.
    """

    def __init__(self, start: Tensor, sizes: Tensor, lower: float, upper: float) -> None:
        """Start from ratios.

        Args:
            start: [groups] float64, initial ratios.
            sizes: [groups] float64, number of weights of each group.
            lower: smallest ratio.
            upper: largest ratio.
        """
        self.ratios = start
        self._share = sizes / sizes.sum()
        self._bounds = (lower, upper)
        self._direction: Tensor | None = None

    def step(self, costs: Tensor, progress: float) -> None:
        """Move the ratios.

        Args:
            costs: [groups] float64, cost of one more pruned weight of each group at the current ratios.
            progress: finished share of the descent, 0 to 1; the step width decreases with its cosine.
        """
        centred = costs - (costs * self._share).sum()
        deviation = (centred.square() * self._share).sum().sqrt()
        if not (torch.isfinite(deviation) and deviation > 0):
            return
        standard = centred / deviation
        previous = standard if self._direction is None else self._direction
        self._direction = MOMENTUM * previous + (1 - MOMENTUM) * standard
        width = STEP_WIDTH * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0)))
        self.ratios = (self.ratios - width * self._direction.clamp(-CLIP, CLIP)).clamp(*self._bounds)
