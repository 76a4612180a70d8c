"""Descent on the patterns of the layers, from which the search for dense layers beside an N:M pattern starts.

A gradient of the divergence at the pruned model times the weights that a layer's pattern prunes is the first-order
estimate of what these weights are worth. The layers of greatest worth within the budget become dense, and the estimate
is repeated at the model with these layers.
"""

import numpy as np
import torch
from torch import Tensor

from optishear.recipes.density import Density, Values

MOMENTUM = 0.5


class DensityDescent:
    """Alternates between estimates and the best patterns for them.

    Attributes:
        ratios: [groups] float64, the fraction that the current pattern of each group prunes.
        priorities: [groups, levels] float64, the estimated value of each pattern; ``None`` before the first step.
    """

    def __init__(self, density: Density, share: float) -> None:
        """Start with the N:M pattern in all groups.

        Args:
            density: groups and their patterns.
            share: of dense weights.
        """
        self.ratios = torch.full((len(density.sizes),), density.fractions[0], dtype=torch.float64)
        self.priorities: Values | None = None
        self._density = density
        self._share = share
        self._costs: Values | None = None

    def step(self, costs: Tensor, progress: float) -> None:
        """Choose the patterns by all estimates so far.

        Args:
            costs: [groups, levels] float64, estimated increase of the divergence by the weights that each pattern
                prunes, at the current patterns.
            progress: not used; the budget is met in every step.
        """
        measured = costs.numpy()
        if not np.isfinite(measured).all():
            return
        if self._costs is not None:
            # The gradient falls towards the dense weights, so that a group that is denser now looks cheaper than it is.
            denser = self.ratios.numpy() < self._density.fractions[0]
            now, before = (float(costs_then[denser, 0].sum()) for costs_then in (measured, self._costs))
            scale = before / now if now > 0 else 1.0
            measured = MOMENTUM * self._costs + (1 - MOMENTUM) * np.where(denser[:, None], scale * measured, measured)
        self._costs = measured
        self.priorities = -measured
        levels = self._density.allocate(-measured, self._share)
        self.ratios = torch.tensor([self._density.fractions[level] for level in levels], dtype=torch.float64)
