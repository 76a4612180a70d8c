"""Search algorithms by name."""

from optishear.searching.algorithms.base import AlgorithmFactory
from optishear.searching.algorithms.coordinate_search import CoordinateSearch
from optishear.searching.algorithms.evolutionary import nsga2, nsga3
from optishear.searching.algorithms.evopress import EvoPress
from optishear.searching.algorithms.sampling import exhaustive, random, sobol
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


def algorithm_for(name: str, phase: str) -> AlgorithmFactory:
    """The algorithm of a phase.

    The phase ``coordinates`` always uses the coordinate search. ``exhaustive`` uses NSGA-III for the ratios, which are
    too many to enumerate.
    """
    if phase == "coordinates":
        return CoordinateSearch
    return ALGORITHMS["nsga3" if name == "exhaustive" and phase == "ratios" else name]
