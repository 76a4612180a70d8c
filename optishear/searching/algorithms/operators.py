"""pymoo operators for genomes of choices, real numbers and sparsity levels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM

from optishear.search_space.space import Space

Population = NDArray[np.float64]
MAXIMUM_SWITCH = 3


class GenomeProblem(Problem):  # type: ignore[misc]
    """The bounds of a space for pymoo; evaluation happens outside."""

    def __init__(self, space: Space, objectives: int) -> None:
        super().__init__(n_var=space.size, n_obj=objectives, xl=np.zeros(space.size), xu=space.upper)
        self.space = space


class StartSampling(Sampling):  # type: ignore[misc]
    """The start genomes, then genomes drawn uniformly from the space, up to the size of the population."""

    def __init__(self, start: list[Population]) -> None:
        super().__init__()
        self.start = start

    def _do(self, problem: GenomeProblem, n_samples: int, *args: Any, random_state: Any, **kwargs: Any) -> Population:
        genomes = [problem.space.random(random_state) for _ in range(n_samples - len(self.start))]
        return np.array([*self.start, *genomes])


class GenomeCrossover(Crossover):  # type: ignore[misc]
    """Uniform crossover of integer genes and simulated binary crossover of real genes."""

    def __init__(self) -> None:
        super().__init__(2, 2, prob=0.9)
        self.blend = SBX(prob_var=0.9, eta=10)

    def _do(self, problem: GenomeProblem, X: Population, *args: Any, random_state: Any, **kwargs: Any) -> Population:
        children = X.copy()
        exchange = random_state.random(X.shape[1:]) < 0.5
        children[0][exchange], children[1][exchange] = X[1][exchange], X[0][exchange]
        real = problem.space.is_real
        if real.any():
            blended = self.blend._do(problem, X, *args, random_state=random_state, **kwargs)
            children[:, :, real] = blended[:, :, real]
        return children


class GenomeMutation(Mutation):  # type: ignore[misc]
    """Redraws choices, moves real genes (polynomial mutation) and switches levels.

    A level switch (EvoPress, arXiv 2410.14649) raises one level and lowers another by the same amount. Without an
    exact sparsity budget, single levels are moved too. A mutation makes one or two switches, and changes about one
    metric gene of each genome.
    """

    def __init__(self) -> None:
        super().__init__()
        self.move = PM(eta=15)

    def _do(self, problem: GenomeProblem, X: Population, *args: Any, random_state: Any, **kwargs: Any) -> Population:
        space = problem.space
        children = X.copy()
        choices = ~space.is_real & ~space.is_level
        if choices.any():
            genomes = np.array([space.random(random_state) for _ in range(len(X))])
            redraw = choices & (random_state.random(X.shape) < 1 / choices.sum())
            children[redraw] = genomes[redraw]
        if space.is_real.any():
            moved = self.move._do(problem, children, *args, random_state=random_state, **kwargs)
            children[:, space.is_real] = moved[:, space.is_real]
        if space.is_level.any():
            mutate = mutate_levels if space.density is None else switch_patterns
            for child in children:
                mutate(space, child, random_state)
        return children


def mutate_levels(space: Space, genome: Population, random_state: Any) -> None:
    """Switch one or two pairs of levels of a genome in place; without an exact budget, half of the moves are single.

    A move is by one to ``MAXIMUM_SWITCH`` levels, so that steps do not become too small with fine levels.
    """
    levels = np.flatnonzero(space.is_level)
    top = space.levels - 1
    for _ in range(int(random_state.integers(1, 3))):
        if not space.exact and (len(levels) == 1 or random_state.random() < 0.5):
            level = random_state.choice(levels)
            height = int(random_state.integers(1, MAXIMUM_SWITCH + 1)) * random_state.choice([-1, 1])
            genome[level] = min(max(genome[level] + height, 0), top)
        elif len(levels) > 1:
            up, down = random_state.choice(levels, 2, replace=False)
            height = int(random_state.integers(1, MAXIMUM_SWITCH + 1))
            height = int(min(height, top - genome[up], genome[down]))
            genome[up] += height
            genome[down] -= height


def switch_patterns(space: Space, genome: Population, random_state: Any) -> None:
    """Give one or two groups of layers a denser pattern, and as many others a sparser one, in place.

    Decoding then meets the budget where the groups have unlike sizes.
    """
    levels = np.flatnonzero(space.is_level)
    for _ in range(int(random_state.integers(1, 3))):
        sparser, denser = levels[genome[levels] > 0], levels[genome[levels] < space.levels - 1]
        if len(sparser):
            genome[random_state.choice(sparser)] -= 1
        if len(denser):
            genome[random_state.choice(denser)] += 1
