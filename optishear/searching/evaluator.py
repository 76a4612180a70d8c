"""Evaluate candidates: compute their masks, then run the sequences that are not in the journal."""

import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Protocol

from optishear.divergence.model_divergence import Divergence, ModelDivergence, combine_sequences
from optishear.models.layers import PrunableLayer
from optishear.models.loss_scale import LossScale
from optishear.pattern import Pattern
from optishear.search_space.candidate import Candidate
from optishear.searching.journal import Journal, Measurement, measurement_key
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.measuring import Measured, Part, Work, measure_part
from optishear.searching.population import Population
from optishear.searching.sensitivity import marginal_costs, pattern_costs


class Evaluator(Protocol):
    """Evaluates the candidates of a search."""

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        """All divergences by name, ``sparsity_distance`` or ``dense_share``, and ``seconds``.

        The seconds are those of what was not measured before.
        """
        ...

    def measure_many(self, candidates: Sequence[Candidate], sequences: int) -> Generator[dict[str, float], None, None]:
        """What ``measure`` gives for each candidate, in order, each when it is asked for.

        The candidates do not depend on each other. An evaluator with workers measures several at a time.
        """
        for candidate in candidates:
            yield self.measure(candidate, sequences)

    def marginal_costs(self, candidate: Candidate, first: int, count: int) -> tuple[list[float], float]:
        """Cost of one more pruned weight in each layer, or of each pattern in it, and the seconds.

        On ``count`` sequences from ``first``. Costs of patterns are those of the first layer first.
        """
        ...


def objective_name(divergence: str, calibration: str) -> str:
    """``kl``, or ``kl/NAME`` for an additional set of search tokens."""
    return f"{divergence}/{calibration}" if calibration else divergence


class CandidateEvaluator(Evaluator):
    """Measures candidates on one or several sets of search tokens."""

    def __init__(
        self,
        layers: list[PrunableLayer],
        weights: MaskedWeights,
        divergences: Mapping[str, ModelDivergence],
        journal: Journal,
        pattern: Pattern,
        fractions: tuple[float, ...] = (),
        population: Population | None = None,
    ) -> None:
        """Store the inputs of a measurement.

        Args:
            layers: the model's prunable layers.
            weights: applies candidates to the model.
            divergences: divergence by the name of its calibration set; the name of the main set is empty.
            journal: earlier measurements.
            pattern: the target; measurements of one N:M pattern are not used for another.
            fractions: what each of the patterns prunes that layers may have, where these are searched.
            population: workers with the same model and divergences, which ``measure_many`` uses; without, it measures
                one candidate after the other.
        """
        self._layers = layers
        self._weights = weights
        self._divergences = divergences
        self._journal = journal
        self._target = pattern.fraction
        self._fractions = fractions
        self._population = population
        # The same counts give other masks in groups than in rows.
        self._grouping = str(pattern) if pattern.is_structured else "rows"
        self._loss_scale = LossScale(layers[0].module.weight.dtype)
        # Number of sequences whose seconds this search has counted, by key.
        self._counted: dict[str, int] = {}

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        """All divergences by name, ``sparsity_distance`` or ``dense_share``, and ``seconds``.

        Only sequences that are not in the journal are run. The seconds of a sequence are counted once in a search, so
        a candidate that is promoted to twice the tokens costs the second half only.
        """
        return self._values(candidate, sequences, {})

    def measure_many(self, candidates: Sequence[Candidate], sequences: int) -> Generator[dict[str, float], None, None]:
        """What ``measure`` gives for each candidate, in order, each when it is asked for.

        The journal has it from then on. What workers have measured beyond that is dropped, so that the journal is the
        same for any number of workers.
        """
        if self._population is None:
            yield from super().measure_many(candidates, sequences)
            return
        works = [self._missing(candidate, sequences) for candidate in candidates]
        with closing(self._population.measure([work for work in works if work.parts])) as results:
            for candidate, work in zip(candidates, works, strict=True):
                measured = dict(zip(work.parts, next(results), strict=True)) if work.parts else {}
                yield self._values(candidate, sequences, measured)

    def _missing(self, candidate: Candidate, sequences: int) -> Work:
        """What is to be measured of a candidate: the sequences of each set that are not in the journal."""
        known = {name: self._journal.sequences(self._key(candidate, name)) for name in self._divergences}
        parts = tuple(Part(name, first, sequences - first) for name, first in known.items() if first < sequences)
        return Work(candidate.layer_metrics, candidate.pruned_per_row, parts)

    def _values(self, candidate: Candidate, sequences: int, measured: Mapping[Part, Measured]) -> dict[str, float]:
        """The values of ``measure``; parts that no worker has measured are measured here."""
        seconds = 0.0
        values: dict[str, float] = {}
        for name, divergence in self._divergences.items():
            key = self._key(candidate, name)
            measurement = self._journal.get(key) or {}
            known = len(measurement.get("seconds", []))
            if known < sequences:
                part = Part(name, known, sequences - known)
                found = measured.get(part) or measure_part(
                    self._weights, divergence, candidate.layer_metrics, candidate.pruned_per_row, part
                )
                measurement = self._append(key, measurement, found.distances, found.seconds)
            counted = self._counted.get(key, 0)
            seconds += sum(measurement["seconds"][counted:sequences])
            self._counted[key] = max(counted, sequences)
            distances = [{kind: measurement[kind][i] for kind in divergence.divergences} for i in range(sequences)]
            values |= {objective_name(kind, name): value for kind, value in combine_sequences(distances).items()}
        if self._fractions:
            return {**values, "seconds": seconds, "dense_share": candidate.dense_share}
        distance = abs(candidate.achieved_sparsity - self._target)
        return {**values, "seconds": seconds, "sparsity_distance": distance}

    def marginal_costs(self, candidate: Candidate, first: int, count: int) -> tuple[list[float], float]:
        """Costs by ``sensitivity.marginal_costs``, or ``pattern_costs`` where patterns are searched, and the seconds.

        On the first sequences, the same pass also evaluates the candidate, which ``measure`` then need not repeat.
        """
        of_patterns = [json.dumps(self._fractions)] if self._fractions else []
        key = measurement_key("marginal costs", self._grouping, candidate.key, first, count, *of_patterns)
        measurement = self._journal.get(key)
        if measurement is None:
            started = time.perf_counter()
            self._weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
            costs, distances = self._costs(self._divergences[""], first, count)
            if first == 0:
                candidate_key = self._key(candidate, "")
                earlier = self._journal.get(candidate_key) or {}
                self._append(candidate_key, earlier, distances[len(earlier.get("seconds", [])) :], 0.0)
            measurement = {
                "costs": costs,
                "loss_scale": [self._loss_scale.factor],
                "seconds": [time.perf_counter() - started],
            }
            self._journal.put(key, measurement)
        # A search that resumes goes on with the factor of the uninterrupted one.
        self._loss_scale.factor = measurement["loss_scale"][0]
        return measurement["costs"], measurement["seconds"][0]

    def _costs(
        self, divergence: ModelDivergence, first: int, count: int
    ) -> tuple[list[float], list[dict[Divergence, float]]]:
        if self._fractions:
            return pattern_costs(
                self._weights, divergence, self._layers, self._fractions, first, count, self._loss_scale
            )
        return marginal_costs(self._weights, divergence, self._layers, first, count, self._loss_scale)

    def _key(self, candidate: Candidate, name: str) -> str:
        """The journal key of a candidate's measurements on one set of search tokens."""
        divergences = ",".join(self._divergences[name].divergences)
        return measurement_key(self._grouping, candidate.key, name, divergences)

    def _append(
        self, key: str, measurement: Measurement, distances: list[dict[Divergence, float]], seconds: float
    ) -> Measurement:
        """Append the distances of further sequences to a measurement, in one record of the journal."""
        for of_sequence in distances:
            values = {**{str(kind): value for kind, value in of_sequence.items()}, "seconds": seconds / len(distances)}
            measurement = {name: [*measurement.get(name, []), value] for name, value in values.items()}
        if distances:
            self._journal.put(key, measurement)
        return measurement
