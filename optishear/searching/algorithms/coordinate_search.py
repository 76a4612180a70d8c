"""Coordinate search: vary the metric of one scope at a time, to start a search over several scopes.

The scopes are nearly independent. A few preset metrics are therefore tried in each scope, and the best is adopted. A
genetic algorithm on the whole genome would have to improve all scopes at the same time.
"""

import numpy as np
from numpy.typing import NDArray

from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.search_space.candidate import AnyMetric
from optishear.search_space.space import Genome, Space

# Smaller and larger activation exponents than Wanda; relative to the column sums or, as RIA, to both sums.
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
PASSES = 2


class CoordinateSearch:
    """Tries each preset for the whole model, then each preset for one scope at a time, from the best so far."""

    def __init__(self, space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> None:
        presets = POWER_PRESETS if space.metric_space == "power" else META_PRESETS
        encoded = [space.encode({"all": preset}) for preset in presets]
        self._presets = [genome for genome in encoded if genome is not None]
        self._width = space.metric_genes // len(space.metric_scopes)
        # In the order of definition, attention first, where the best metrics differ most.
        self._scopes = range(len(space.metric_scopes))
        self._first = [*start, *self._presets]
        self.expected: int | None = len(self._first) + PASSES * len(self._scopes) * len(self._presets)
        self._steps = 0
        self._best: Genome | None = None
        self._value = float("inf")
        self._reference: NDArray[np.float64] | None = None

    def ask(self) -> list[Genome]:
        """The presets of the next scope; none after two passes over the scopes."""
        if self._best is None:
            return self._first
        if self._steps == PASSES * len(self._scopes):
            return []
        scope = self._scopes[self._steps % len(self._scopes)]
        self._steps += 1
        genes = slice(scope * self._width, (scope + 1) * self._width)
        varied = []
        for preset in self._presets:
            genome = self._best.copy()
            genome[genes] = preset[genes]
            varied.append(genome)
        return varied

    def tell(self, genomes: list[Genome], objectives: NDArray[np.float64]) -> None:
        """Keep the best genome, by its worst ratio over the objectives to the best values of the first batch."""
        if self._reference is None:
            self._reference = objectives.min(axis=0)
        # Ratios need a positive reference; the distance to the target is zero in the first batch.
        usable = (self._reference > 0) & np.isfinite(self._reference)
        worst = (objectives[:, usable] / self._reference[usable]).max(axis=1, initial=0.0)
        best = int(np.argmin(worst))
        if self._best is None or worst[best] < self._value:
            self._best, self._value = genomes[best], float(worst[best])
