"""How a search goes from round to round."""

from typing import Any

import pytest

from optishear.metrics.metric import WANDA
from optishear.models.layers import prunable_layers
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.search_space.candidate import Candidate
from optishear.searching.evaluator import Evaluator
from optishear.searching.run import SearchRun
from tiny import tiny_model

LAYERS = prunable_layers(tiny_model())


class Slow(Evaluator):
    """Every measurement takes ten seconds, and the fewer layers have Wanda's metric the better."""

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        wanda = sum(str(metric) == str(WANDA) for metric in candidate.layer_metrics)
        return {"kl": 1.0 + wanda / len(LAYERS), "seconds": 10.0}

    def marginal_costs(self, *_: Any) -> Any:
        raise AssertionError("there is no descent here")


@pytest.mark.parametrize("algorithm", ["nsga3", "nsga2", "evopress", "random", "tpe"])
@pytest.mark.parametrize("budget", ["10s", "60s"])
def test_what_earlier_rounds_found_is_evaluated_in_the_last_however_short_it_is(algorithm: str, budget: str) -> None:
    parameters = SearchParameters(algorithm=algorithm, budget=budget, ratio_scope="none", search_sequences=4)
    run = SearchRun(Slow(), LAYERS, parameters, parse_pattern("2:4"), 0, 4, None, progress=False)
    run.run_phases()
    last = run.last_round()
    assert {trial.sequences for trial in last} == {4}
    best_before = min(trial.objectives["kl"] for trial in run.trials)
    assert best_before < min(trial.objectives["kl"] for trial in last if trial.name == "wanda")
    assert min(trial.objectives["kl"] for trial in last) == best_before
    # Three named metrics and three candidates of each round, and no more than that.
    assert len(last) == 6
