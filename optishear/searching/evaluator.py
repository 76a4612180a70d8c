"""Measure a candidate: one mask computation and one forward pass over the sequences that the journal does not know."""

import time
from collections.abc import Mapping
from typing import Protocol

from optishear.divergence.model_divergence import Divergence, ModelDivergence, over_sequences
from optishear.models.layers import PrunableLayer
from optishear.pattern import Pattern
from optishear.search_space.candidate import Candidate
from optishear.searching.journal import Journal, Measurement, measurement_key
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.sensitivity import marginal_costs


class Evaluator(Protocol):
    """What a search needs to know of its candidates."""

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        """All errors by name, ``sparsity_distance``, and the ``seconds`` that what is new in it took."""
        ...

    def marginal_costs(self, candidate: Candidate, first: int, count: int) -> tuple[list[float], float]:
        """Cost of one more pruned weight in each layer on ``count`` sequences from ``first`` on, and the seconds."""
        ...


def objective_name(divergence: str, calibration: str) -> str:
    """``kl``, or ``kl/NAME`` on a further set of search tokens."""
    return f"{divergence}/{calibration}" if calibration else divergence


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
        # For each key the sequences whose seconds this search has counted.
        self._counted: dict[str, int] = {}

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        """All errors by name, ``sparsity_distance``, and ``seconds``.

        Only the sequences are run that no search has measured the candidate on, and no sequence's seconds are counted
        twice in one search: a candidate that is promoted to twice the tokens costs the second half.
        """
        seconds = 0.0
        errors: dict[str, float] = {}
        for name, error in self._errors.items():
            key = self._key(candidate, name)
            known = self._journal.get(key) or {}
            done = len(known.get("seconds", []))
            if done < sequences:
                started = time.perf_counter()
                self._weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
                each = error.measure_each(done, sequences - done)
                known = self._keep(key, known, each, time.perf_counter() - started)
            counted = self._counted.get(key, 0)
            seconds += sum(known["seconds"][counted:sequences])
            self._counted[key] = max(counted, sequences)
            each = [{which: known[which][index] for which in error.divergences} for index in range(sequences)]
            errors |= {objective_name(which, name): value for which, value in over_sequences(each).items()}
        distance = abs(candidate.achieved_sparsity - self._target)
        return {**errors, "seconds": seconds, "sparsity_distance": distance}

    def marginal_costs(self, candidate: Candidate, first: int, count: int) -> tuple[list[float], float]:
        """Cost of one more pruned weight in each layer (``sensitivity.marginal_costs``), and the seconds it took.

        On the first sequences the pass measures the candidate too, so that ``measure`` then has nothing to do.
        """
        key = measurement_key("marginal costs", self._grouping, candidate.key, first, count)
        known = self._journal.get(key)
        if known is None:
            started = time.perf_counter()
            self._weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
            costs, each = marginal_costs(self._weights, self._errors[""], self._layers, first, count)
            if first == 0:
                own = self._key(candidate, "")
                measured = self._journal.get(own) or {}
                self._keep(own, measured, each[len(measured.get("seconds", [])) :], 0.0)
            known = {"costs": costs, "seconds": [time.perf_counter() - started]}
            self._journal.put(key, known)
        return known["costs"], known["seconds"][0]

    def _key(self, candidate: Candidate, name: str) -> str:
        """What identifies a candidate's measurements on one set of search tokens in the journal."""
        divergences = ",".join(self._errors[name].divergences)
        return measurement_key(self._grouping, candidate.key, name, divergences)

    def _keep(self, key: str, known: Measurement, each: list[dict[Divergence, float]], seconds: float) -> Measurement:
        """Add what was measured on further sequences to what is known of the ones before, in one record."""
        for distances in each:
            values = {**{str(name): value for name, value in distances.items()}, "seconds": seconds / len(each)}
            known = {name: [*known.get(name, []), value] for name, value in values.items()}
        if each:
            self._journal.put(key, known)
        return known
