"""One scope after the other: where a search over the metrics of several scopes starts from.

Scopes hardly depend on one another, so a handful of metrics is tried in each in turn, and what helps is kept; an
evolution of the whole vector would have to find all of them at the same time.
"""

import numpy as np
from numpy.typing import NDArray

from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.search_space.candidate import AnyMetric
from optishear.search_space.space import Genome, Space

# Flatter and steeper in the activations than Wanda; relative to the column sums or to both sums, as RIA is.
POWER_PRESETS: list[AnyMetric] = [
    *(PowerMetric(activation_exponent=a) for a in (1.0, 0.5, 0.75, 1.5)),
    PowerMetric(activation_exponent=1.0, sums_exponent=1.0, column_share=1.0),
    PowerMetric(activation_exponent=1.0, sums_exponent=1.0),
    PowerMetric(activation_exponent=0.5, sums_exponent=1.0),
    PowerMetric(activation_exponent=0.75, sums_exponent=0.5, column_share=1.0),
]
META_PRESETS: list[AnyMetric] = [
    MetaMetric(),
    MetaMetric(activation_operation="sqrt"),
    MetaMetric(activation_operation="square"),
    MetaMetric(activation_operation="log"),
    MetaMetric(weight_coefficient="column_sum"),
    MetaMetric(weight_coefficient="column_sum", activation_operation="sqrt"),
    MetaMetric(weight_coefficient="relative_sum"),
    MetaMetric(weight_coefficient="relative_sum", activation_operation="sqrt"),
]
SWEEPS = 2


class Sweep:
    """Each preset for the whole model, then each preset for one scope at a time; the best so far is kept."""

    def __init__(self, space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> None:
        presets = POWER_PRESETS if space.metric_space == "power" else META_PRESETS
        everywhere = [space.encode({"all": preset}) for preset in presets]
        self._presets = [genome for genome in everywhere if genome is not None]
        self._width = space.metric_genes // len(space.metric_scopes)
        # In the order of definition, attention first: there the best metrics differ most from one another.
        self._scopes = range(len(space.metric_scopes))
        self._first = [*start, *self._presets]
        self.expected: int | None = len(self._first) + SWEEPS * len(self._scopes) * len(self._presets)
        self._asked = 0
        self._best: Genome | None = None
        self._value = float("inf")
        self._reference: NDArray[np.float64] | None = None

    def ask(self) -> list[Genome]:
        """The presets of the next scope; nothing after two sweeps."""
        if self._best is None:
            return self._first
        if self._asked == SWEEPS * len(self._scopes):
            return []
        scope = self._scopes[self._asked % len(self._scopes)]
        self._asked += 1
        genes = slice(scope * self._width, (scope + 1) * self._width)
        varied = []
        for preset in self._presets:
            genome = self._best.copy()
            genome[genes] = preset[genes]
            varied.append(genome)
        return varied

    def tell(self, genomes: list[Genome], objectives: NDArray[np.float64]) -> None:
        """Keep the best: of several objectives the one whose worst ratio to the first batch's best is smallest."""
        if self._reference is None:
            self._reference = objectives.min(axis=0)
        # An objective that is zero there, as a distance to the target is, tells nothing.
        telling = (self._reference > 0) & np.isfinite(self._reference)
        worst = (objectives[:, telling] / self._reference[telling]).max(axis=1, initial=0.0)
        best = int(np.argmin(worst))
        if self._best is None or worst[best] < self._value:
            self._best, self._value = genomes[best], float(worst[best])
