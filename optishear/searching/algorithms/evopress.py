"""(1 + lambda) evolution with level switches, after EvoPress (arXiv 2410.14649)."""

import numpy as np
from numpy.typing import NDArray

from optishear.search_space.space import Genome, Space
from optishear.searching.algorithms.operators import GenomeMutation, GenomeProblem


class EvoPress:
    """One parent and ``population`` mutated offspring; the best in the first objective is the next parent."""

    expected: int | None = None

    def __init__(self, space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> None:
        self._problem = GenomeProblem(space, objectives)
        self._start = start
        self._population = population
        self._random = np.random.default_rng(seed)
        self._mutation = GenomeMutation()
        self._parent: Genome | None = None
        self._value = float("inf")

    def ask(self) -> list[Genome]:
        """Offspring of the parent; at first the start genomes."""
        if self._parent is None:
            return self._start or [self._problem.space.random(self._random) for _ in range(self._population)]
        copies = np.repeat(self._parent[None], self._population, axis=0)
        return list(self._mutation._do(self._problem, copies, random_state=self._random))

    def tell(self, genomes: list[Genome], objectives: NDArray[np.float64]) -> None:
        """Keep the best."""
        best = int(np.argmin(objectives[:, 0]))
        if self._parent is None or objectives[best, 0] <= self._value:
            self._parent, self._value = genomes[best], float(objectives[best, 0])
