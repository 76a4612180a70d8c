"""Measure a candidate: one mask computation and one forward pass, or nothing if the journal knows it."""

import time
from collections.abc import Mapping
from typing import Protocol

from optishear.divergence.model_divergence import ModelDivergence
from optishear.models.layers import PrunableLayer
from optishear.pattern import Pattern
from optishear.search_space.candidate import Candidate
from optishear.searching.journal import Journal, measurement_key
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.sensitivity import marginal_costs


class Evaluator(Protocol):
    """What a search needs to know of its candidates."""

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        """All errors by name, ``sparsity_distance``, and the ``seconds`` that it took when it was measured."""
        ...

    def marginal_costs(self, candidate: Candidate, first: int, count: int) -> tuple[list[float], float]:
        """Cost of one more pruned weight in each layer on ``count`` sequences from ``first`` on, and the seconds."""
        ...


def measure_all(errors: Mapping[str, ModelDivergence], sequences: int) -> dict[str, float]:
    """The errors of what is on the weights now: ``kl``, and ``kl/NAME`` for a further set of search tokens."""
    return {
        f"{divergence}/{name}" if name else divergence: value
        for name, error in errors.items()
        for divergence, value in error.measure(sequences).items()
    }


def named_divergences(errors: Mapping[str, ModelDivergence]) -> list[str]:
    """What ``measure_all`` measures, for a key."""
    return [f"{name}:{','.join(error.divergences)}" for name, error in errors.items()]


class CandidateEvaluator:
    """Measures candidates on one or several sets of search tokens."""

    def __init__(
        self,
        layers: list[PrunableLayer],
        weights: MaskedWeights,
        errors: Mapping[str, ModelDivergence],
        journal: Journal,
        pattern: Pattern,
    ) -> None:
        """Bind what a measurement needs.

        Args:
            layers: the model's prunable layers.
            weights: the model's weights, to put candidates on.
            errors: reconstruction error by the name of its calibration set; the main one's name is empty.
            journal: what was measured before.
            pattern: the target; the measurements of one N:M pattern serve no other.
        """
        self._layers = layers
        self._weights = weights
        self._errors = errors
        self._journal = journal
        self._target = pattern.fraction
        # The same numbers of weights fall in another order in groups than in rows.
        self._grouping = str(pattern) if pattern.is_structured else "rows"

    def key(self, candidate: Candidate, sequences: int) -> str:
        """What identifies a measurement in the journal."""
        return measurement_key(self._grouping, candidate.key, sequences, *named_divergences(self._errors))

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        """All errors by name (``kl``; ``kl/NAME`` for a further set), ``sparsity_distance``, and ``seconds``."""
        key = self.key(candidate, sequences)
        measured = self._journal.get(key)
        if measured is None:
            started = time.perf_counter()
            self._weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
            measured = measure_all(self._errors, sequences)
            measured["seconds"] = time.perf_counter() - started
            self._journal.put(key, measured)
        return {**measured, "sparsity_distance": abs(candidate.achieved_sparsity - self._target)}

    def marginal_costs(self, candidate: Candidate, first: int, count: int) -> tuple[list[float], float]:
        """Cost of one more pruned weight in each layer (``sensitivity.marginal_costs``), and the seconds it took."""
        key = measurement_key("marginal costs", self._grouping, candidate.key, first, count)
        measured = self._journal.get(key)
        if measured is None:
            started = time.perf_counter()
            self._weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
            costs = marginal_costs(self._weights, self._errors[""], self._layers, first, count)
            measured = {str(index): cost for index, cost in enumerate(costs)}
            measured["seconds"] = time.perf_counter() - started
            self._journal.put(key, measured)
        return [measured[str(index)] for index in range(len(self._layers))], measured["seconds"]
