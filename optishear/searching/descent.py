"""Descend along the marginal costs: where the ratio search starts from.

At the best ratios one more pruned weight costs the same in every layer; else moving the budget from the dear
layers to the cheap ones is a gain. Each step measures the costs on the next few calibration sequences and moves
the ratios against them, as stochastic gradient descent does: standardised, clipped, averaged with the step before,
under a falling step width.
"""

import math

import torch
from torch import Tensor

# Largest change of a ratio in the first step, for a layer whose cost is one standard deviation off the mean.
STEP_WIDTH = 0.04
# Costs further off than this many standard deviations count as this many.
CLIP = 2.0
MOMENTUM = 0.5


class RatioDescent:
    """Sparsity ratios of the layers, moved step by step.

    Attributes:
        ratios: [groups] float64, the present wished ratios.
    """

    def __init__(self, start: Tensor, sizes: Tensor, lower: float, upper: float) -> None:
        """Begin.

        Args:
            start: [groups] float64, first ratios.
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
            costs: [groups] float64, cost of one more pruned weight of each group at the present ratios.
            progress: how much of the descent is over, 0 to 1; the step width falls with its cosine.
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
