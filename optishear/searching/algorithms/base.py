"""The interface of all search algorithms."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from optishear.search_space.space import Genome, Space


class Algorithm(Protocol):
    """Interface of a search algorithm.

    An algorithm sees genomes and objective vectors, never a model. It must be deterministic for its seed: a killed
    search resumes by repeating all calls of ``ask`` and ``tell`` with values from the journal. It may return the same
    genome again, or several genomes of the same candidate: the search evaluates each candidate once, and ends a round
    after many generations without a new one.

    Attributes:
        expected: number of genomes after which the algorithm ends by itself; ``None`` if it does not end.
    """

    expected: int | None

    def ask(self) -> list[Genome]:
        """The next genomes to evaluate; an empty list if none are left."""
        ...

    def tell(self, genomes: list[Genome], objectives: NDArray[np.float64]) -> None:
        """Pass the objectives of the genomes of the last ``ask``: [genomes, objectives], smaller is better."""
        ...


class AlgorithmFactory(Protocol):
    """Creates an algorithm for one round."""

    def __call__(self, space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> Algorithm:
        """Create an algorithm.

        Args:
            space: the search space.
            start: genomes to evaluate first, sorted from the most promising one; can be empty.
            objectives: number of objectives.
            population: number of genomes per ``ask`` after the first, at least 4.
            seed: seed of all random choices.
        """
        ...
