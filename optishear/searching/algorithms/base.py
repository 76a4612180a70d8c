"""The interface of all search algorithms."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from optishear.search_space.space import Genome, Space


class Algorithm(Protocol):
    """What the search loop needs.

    An algorithm sees genomes and objective vectors, never a model. It must be deterministic for its seed: a
    search that was killed is continued by asking and telling again from the start, with every value that was
    already measured taken from the journal. It may ask for a genome again, and for genomes of one candidate: the
    search measures no candidate twice and ends where an algorithm brings nothing new for long.

    Attributes:
        expected: how many genomes it will ask for, where it ends by itself; ``None`` where it goes on for ever.
    """

    expected: int | None

    def ask(self) -> list[Genome]:
        """The next genomes to evaluate; an empty list when there is nothing left to try."""
        ...

    def tell(self, genomes: list[Genome], objectives: NDArray[np.float64]) -> None:
        """What the genomes of the last ``ask`` are worth, [genomes, objectives], smaller is better."""
        ...


class AlgorithmFactory(Protocol):
    """Makes an algorithm for one round."""

    def __call__(self, space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> Algorithm:
        """Make an algorithm.

        Args:
            space: the genes.
            start: genomes to evaluate first, all of them, the most promising first; may be empty.
            objectives: number of objectives.
            population: genomes per ``ask`` after the first, at least 4.
            seed: decides every random choice.
        """
        ...
