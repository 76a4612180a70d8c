"""Tree-structured Parzen estimator from Optuna (the extra ``tpe``)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optishear.extras import require
from optishear.search_space.space import Genome, Space


class TreeParzen:
    """The TPE sampler of Optuna."""

    expected: int | None = None

    def __init__(self, space: Space, start: list[Genome], objectives: int, population: int, seed: int) -> None:
        """Create a study in memory.

        Raises:
            InputError: if Optuna is not installed.
        """
        require(["optuna"], "The algorithm 'tpe'")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        distributions: dict[str, Any] = {}
        for index, (upper, real) in enumerate(zip(space.upper, space.is_real, strict=True)):
            distributions[str(index)] = (
                optuna.distributions.FloatDistribution(0, float(upper))
                if real
                else optuna.distributions.IntDistribution(0, int(upper))
            )
        self._distributions = distributions
        self._population = population
        self._study = optuna.create_study(
            directions=["minimize"] * objectives, sampler=optuna.samplers.TPESampler(seed=seed)
        )
        for genome in start:
            self._study.enqueue_trial(
                {
                    name: float(value) if space.is_real[int(name)] else int(value)
                    for name, value in zip(distributions, genome, strict=True)
                }
            )
        self._trials: list[Any] = []

    def ask(self) -> list[Genome]:
        """The next batch of suggestions."""
        self._trials = [self._study.ask(self._distributions) for _ in range(self._population)]
        return [np.array([float(trial.params[name]) for name in self._distributions]) for trial in self._trials]

    def tell(self, genomes: list[Genome], objectives: NDArray[np.float64]) -> None:
        """Pass the objectives to the study."""
        for trial, values in zip(self._trials, objectives, strict=True):
            self._study.tell(trial, [float(min(value, 1e30)) for value in values])
