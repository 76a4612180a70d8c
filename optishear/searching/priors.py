"""The priors of a ratio search: published and simple ratios, of which the best is its start."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optishear.metrics.metric import WANDA
from optishear.models.layers import PrunableLayer
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.ratios.priors import prior_curves
from optishear.search_space.candidate import Candidate
from optishear.search_space.space import Space, has_ratios
from optishear.searching.journal import Journal, measurement_key
from optishear.searching.trials import Trial, best_first
from optishear.statistics.statistics import Statistics

logger = logging.getLogger("optishear.searching")


@dataclass(frozen=True)
class Priors:
    """Ratios that a search may begin with.

    Attributes:
        curves: fraction to prune of each decoder layer, by the prior's name.
        seconds: what their computation took.
    """

    curves: dict[str, list[float]]
    seconds: float


NO_PRIORS = Priors({}, 0.0)


def make_priors(
    parameters: SearchParameters,
    layers: list[PrunableLayer],
    statistics: Statistics,
    pattern: Pattern,
    journal: Journal,
) -> Priors:
    """Compute the priors of a search from the dense weights; none if the ratios are fixed or patterns.

    Curves and seconds are kept in the journal, so that a resumed search counts the seconds of the first one.

    Args:
        parameters: parameters of the search.
        layers: the model's prunable layers, with dense weights.
        statistics: statistics of the dense model.
        pattern: the target.
        journal: earlier measurements.
    """
    if not has_ratios(parameters, pattern) or pattern.is_structured:
        return NO_PRIORS
    curves: dict[str, list[float]] = {}
    seconds = 0.0
    for prior in dict.fromkeys(parameters.ratio_priors):
        key = measurement_key("ratio prior", prior, str(pattern.fraction))
        measurement = journal.get(key)
        if measurement is None:
            started = time.perf_counter()
            measurement = dict(prior_curves(prior, layers, statistics, pattern.fraction))
            measurement["seconds"] = [time.perf_counter() - started]
            journal.put(key, measurement)
        curves |= {name: values for name, values in measurement.items() if name != "seconds"}
        seconds += measurement["seconds"][0]
    return Priors(curves, seconds)


def measure_priors(
    priors: Priors, space: Space, evaluate: Callable[[list[Candidate]], Sequence[Trial]]
) -> dict[str, Trial]:
    """The trial of each prior by name, the best first.

    Args:
        priors: the ratios.
        space: a space with ratios; its metrics if they are fixed, otherwise Wanda, score the weights.
        evaluate: evaluates candidates; gives their trials in the same order.
    """
    metrics = space.fixed_metrics or {"all": WANDA}
    candidates = [
        space.candidate(metrics, space.curve_ratios(curve).tolist(), exact=True) for curve in priors.curves.values()
    ]
    trials = dict(zip(priors.curves, evaluate(candidates), strict=True))
    # Two priors may be one candidate, such as all of them in a model with one decoder layer.
    order = {trial.number: place for place, trial in enumerate(best_first(list(trials.values())))}
    ordered = dict(sorted(trials.items(), key=lambda item: order[item[1].number]))
    if ordered:
        values = ", ".join(f"{name} {value:.4g}" for name, value in prior_values(ordered).items())
        logger.info("ratio priors by their divergence; the search starts from the first: %s", values)
    return ordered


def prior_values(trials: dict[str, Trial]) -> dict[str, float]:
    """The first objective of each prior, the best prior first."""
    return {name: next(iter(trial.objectives.values())) for name, trial in trials.items()}
