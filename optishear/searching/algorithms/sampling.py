"""Algorithms that ignore the objectives: random and quasi-random points, and all distinct metrics."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from optishear.errors import InputError
from optishear.metrics.canonical import distinct_meta_metrics
from optishear.search_space.space import Genome, Space


class Sampling:
    """The start genomes, then genomes drawn from ``points`` in batches, if given."""

    def __init__(self, space: Space, start: list[Genome], population: int, points: object) -> None:
        self._space = space
        self._pending = list(start)
        self._population = population
        self._points = points
        self.expected: int | None = len(start) if points is None else None

    def ask(self) -> list[Genome]:
        """The next batch."""
        while len(self._pending) < self._population and self._points is not None:
            self._pending += self._draw()
        batch, self._pending = self._pending[: self._population], self._pending[self._population :]
        return batch

    def tell(self, genomes: list[Genome], objectives: NDArray[np.float64]) -> None:
        """Ignore the objectives."""

    def _draw(self) -> list[Genome]:
        if isinstance(self._points, np.random.Generator):
            return [self._space.random(self._points) for _ in range(self._population)]
        assert isinstance(self._points, qmc.Sobol)
        return [self._space.from_unit(point) for point in self._points.random(64)]


def random(space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> Sampling:
    """Uniformly drawn genomes."""
    return Sampling(space, start, population, np.random.default_rng(seed))


def sobol(space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> Sampling:
    """A scrambled Sobol sequence, which covers the space more evenly than random points."""
    return Sampling(space, start, population, qmc.Sobol(space.size, seed=seed))


def exhaustive(space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> Sampling:
    """All distinct metrics of the meta space, each once.

    Raises:
        InputError: if the space is not that of one meta metric.
    """
    if space.metric_scopes != ("all",) or space.metric_space != "meta" or space.ratio_groups:
        raise InputError(
            "The algorithm 'exhaustive' evaluates every distinct metric of the meta space; "
            "it needs metric_space meta, metric_scope model and order sequential."
        )
    encoded = [space.encode({"all": metric}) for metric in distinct_meta_metrics().values()]
    by_key: dict[str, Genome] = {}
    for genome in [*start, *(genome for genome in encoded if genome is not None)]:
        by_key.setdefault(space.decode(genome).key, genome)
    return Sampling(space, list(by_key.values()), population, None)
