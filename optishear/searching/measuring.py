"""What is measured of a candidate, as plain values that travel to a worker, and the measurement itself."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optishear.divergence.model_divergence import Divergence, ModelDivergence
from optishear.search_space.candidate import AnyMetric
from optishear.searching.masked_weights import MaskedWeights


@dataclass(frozen=True)
class Part:
    """Some sequences of one set of search tokens.

    Attributes:
        calibration: name of the set; empty for the main one.
        first: number of the first sequence.
        count: number of sequences.
    """

    calibration: str
    first: int
    count: int


@dataclass(frozen=True)
class Work:
    """What is to be measured of one candidate.

    Attributes:
        metrics: the metric of each prunable layer, in order.
        pruned_per_row: the number of weights to prune in each row of each layer.
        parts: the sequences to run; may be empty.
    """

    metrics: list[AnyMetric]
    pruned_per_row: list[int]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Measured:
    """The result of one part.

    Attributes:
        distances: by the name of the divergence, for each sequence.
        seconds: of the masks and the passes.
    """

    distances: list[dict[Divergence, float]]
    seconds: float


class Measurer:
    """Measures candidates on one model; it neither reads nor writes a journal."""

    def __init__(self, weights: MaskedWeights, divergences: Mapping[str, ModelDivergence]) -> None:
        """Store the masked weights of the model, and the divergence by the name of its set of search tokens."""
        self._weights = weights
        self._divergences = divergences

    def measure(self, work: Work) -> list[Measured]:
        """The results of the parts, in order."""
        return [
            measure_part(self._weights, self._divergences[part.calibration], work.metrics, work.pruned_per_row, part)
            for part in work.parts
        ]


def measure_part(
    weights: MaskedWeights,
    divergence: ModelDivergence,
    metrics: Sequence[AnyMetric],
    pruned_per_row: Sequence[int],
    part: Part,
) -> Measured:
    """Apply a candidate to the weights and run the sequences of one part.

    Args:
        weights: of the model.
        divergence: of the part's set of search tokens.
        metrics: the metric of each prunable layer.
        pruned_per_row: the number of weights to prune in each row of each layer.
        part: the sequences.
    """
    started = time.perf_counter()
    weights.apply(list(metrics), list(pruned_per_row))
    distances = divergence.measure_sequences(part.first, part.count)
    return Measured(distances, time.perf_counter() - started)
