"""Search algorithms by name."""

from optishear.searching.algorithms.base import AlgorithmFactory
from optishear.searching.algorithms.evolutionary import nsga2, nsga3
from optishear.searching.algorithms.evopress import EvoPress
from optishear.searching.algorithms.sampling import exhaustive, random, sobol
from optishear.searching.algorithms.sweep import Sweep
from optishear.searching.algorithms.tpe import TreeParzen

ALGORITHMS: dict[str, AlgorithmFactory] = {
    "nsga3": nsga3,
    "nsga2": nsga2,
    "random": random,
    "qmc": sobol,
    "tpe": TreeParzen,
    "exhaustive": exhaustive,
    "evopress": EvoPress,
}


def algorithm_for(name: str, stage: str) -> AlgorithmFactory:
    """The algorithm of a stage.

    Metrics of several scopes are swept first, whatever the algorithm; and ratios are too many to enumerate, so
    ``exhaustive`` leaves them to NSGA-III.
    """
    if stage == "sweep":
        return Sweep
    return ALGORITHMS["nsga3" if name == "exhaustive" and stage == "ratios" else name]
