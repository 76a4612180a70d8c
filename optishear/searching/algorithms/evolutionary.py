"""NSGA-III and NSGA-II from pymoo, with the interface of ``base.Algorithm``."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem
from pymoo.util.ref_dirs import get_reference_directions

from optishear.search_space.space import Genome, Space
from optishear.searching.algorithms.operators import GenomeCrossover, GenomeMutation, GenomeProblem, StartSampling


class Evolutionary:
    """A genetic algorithm of pymoo."""

    expected: int | None = None

    def __init__(self, algorithm: Any, space: Space, objectives: int, seed: int) -> None:
        algorithm.setup(GenomeProblem(space, objectives), termination=NoTermination(), seed=seed, verbose=False)
        self._algorithm = algorithm
        self._generation = Population.empty()

    def ask(self) -> list[Genome]:
        """The offspring of the next generation; at first the start population."""
        self._generation = self._algorithm.ask()
        if self._generation is None:
            # With few levels, the operators may give no new genome although most genomes are untried.
            self._algorithm.termination.force_termination = False
            problem, generator = self._algorithm.problem, self._algorithm.random_state
            sampled = StartSampling([]).do(problem, self._algorithm.pop_size, random_state=generator)
            self._generation = self._algorithm.eliminate_duplicates.do(sampled, self._algorithm.pop)
        return list(self._generation.get("X"))

    def tell(self, genomes: list[Genome], objectives: NDArray[np.float64]) -> None:
        """Select the survivors."""
        # The selection needs finite numbers; a model with infinite divergence is the worst.
        finite = np.where(np.isfinite(objectives), objectives, 1e30)
        Evaluator().eval(StaticProblem(self._algorithm.problem, F=finite), self._generation)
        self._algorithm.tell(infills=self._generation)


def nsga3(space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> Evolutionary:
    """NSGA-III (Deb and Jain 2014): survival by distance to evenly spaced reference directions.

    The population is at least the number of objectives, so that each objective has a direction.
    """
    directions = _directions(objectives, population)
    size = max(population, objectives)
    return Evolutionary(NSGA3(directions, size, **_operators(start)), space, objectives, seed)


def nsga2(space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> Evolutionary:
    """NSGA-II (Deb et al. 2002): survival by rank and crowding distance."""
    return Evolutionary(NSGA2(population, **_operators(start)), space, objectives, seed)


def _operators(start: list[Genome]) -> dict[str, Any]:
    return {"sampling": StartSampling(start), "crossover": GenomeCrossover(), "mutation": GenomeMutation()}


@lru_cache(maxsize=8)
def _directions(objectives: int, population: int) -> NDArray[np.float64]:
    """Reference directions [directions, objectives] with sum 1; for two or more objectives, one per individual."""
    if objectives == 1:
        return np.ones((1, 1))
    directions: NDArray[np.float64] = (
        get_reference_directions("das-dennis", objectives, n_partitions=population - 1)
        if objectives == 2
        else get_reference_directions("energy", objectives, max(population, objectives), seed=0)
    )
    return directions
