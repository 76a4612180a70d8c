"""Which layers of a model are dense, or keep more than the N:M pattern of the others, under a budget for all.

The share of dense weights is 1 - s / p, where s is the fraction pruned of all layers and p that of the pattern: the
share of weights in dense layers, in which a layer that keeps half of what the pattern prunes counts by half.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optishear.recipes.knapsack import best_choices

Values = NDArray[np.float64]
# Rounding errors of a share, in weights.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Density:
    """Groups of layers, each with one of several N:M patterns of equal groups.

    Layers are whole, so that most shares cannot be met to the last weight. The share is then the largest possible one
    that is not above the one asked for: the model is never less sparse than asked for.

    Attributes:
        fractions: what each level prunes, from the pattern's to 0 for dense.
        sizes: [groups] int64, number of weights of each group.
        depths: [groups] int64, the decoder layer of each group.
    """

    fractions: tuple[float, ...]
    sizes: NDArray[np.int64]
    depths: NDArray[np.int64]

    @property
    def _kept(self) -> NDArray[np.int64]:
        """[groups, levels], weights that each level keeps and the pattern prunes."""
        differences = self.fractions[0] - np.array(self.fractions)
        return np.rint(self.sizes[:, None] * differences).astype(np.int64)

    @property
    def smallest_share(self) -> float:
        """The least share of dense weights above 0: that of the smallest group in its next denser pattern."""
        kept = self._kept
        return float(kept[kept > 0].min() / np.rint(self.fractions[0] * self.sizes.sum()))

    def allocate(self, values: Values, share: float) -> list[int]:
        """The level of each group, [groups], of greatest total value among those that meet a share.

        Args:
            values: [groups, levels] float64.
            share: of dense weights, in [0, 1).
        """
        capacity = int(share * self.fractions[0] * self.sizes.sum() + _ROUNDING)
        return best_choices(self._kept, values, capacity)

    def share(self, levels: list[int]) -> float:
        """The share of dense weights of the level of each group."""
        kept = self._kept[np.arange(len(levels)), levels].sum()
        return float(kept / np.rint(self.fractions[0] * self.sizes.sum()))

    def nearest(self, share: float, wished: Values | None = None, priorities: Values | None = None) -> list[int]:
        """The levels that meet a share and are nearest to a wished fraction of each group.

        Args:
            share: of dense weights, in [0, 1).
            wished: [groups] float64, fraction to prune; where not given, the priorities decide alone.
            priorities: [groups, levels] float64, value of each level, for equally near ones; by default those of
                ``last_layers``.
        """
        values = self.last_layers() if priorities is None else priorities
        if wished is None:
            return self.allocate(values, share)
        distance = self.sizes[:, None] * np.abs(np.array(self.fractions) - wished[:, None])
        # All priorities together are less than the least difference in distance.
        least = float(self.sizes.min() * np.abs(np.diff(self.fractions)).min())
        scale = least / max(2 * float(np.abs(values).sum()), 1e-300)
        return self.allocate(scale * values - distance, share)

    def last_layers(self) -> Values:
        """Values that make the last decoder layers dense: a simple rule, for comparison."""
        values: Values = self._kept * (1.0 + self.depths[:, None])
        return values
