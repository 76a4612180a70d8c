"""Which trial becomes the recipe, and when a named metric is kept."""

import math

import pytest

from optishear.metrics.metric import MAGNITUDE, RIA, WANDA, Metric, PowerMetric
from optishear.models.layers import prunable_layers
from optishear.pattern import parse_pattern
from optishear.search_space.candidate import make_candidate
from optishear.searching.choice import SPARSITY_TOLERANCE, Choice, Target, choose, confirm
from optishear.searching.held_out import Confirmation
from optishear.searching.trials import Trial
from tiny import tiny_model
from wording import refused

LAYERS = prunable_layers(tiny_model())
PATTERN = parse_pattern("0.5")
TARGET = Target(0.5, SPARSITY_TOLERANCE)


def trial(number: int, kl: float, metric: Metric, name: str = "") -> Trial:
    values = {"kl": kl}
    return Trial(number, "metric", 2, name, make_candidate(LAYERS, PATTERN, {"all": metric}), 4, values, values, 1.0)


FOUND = trial(7, 0.90, PowerMetric(activation_exponent=0.7, sums_exponent=0.0, column_share=0.5))
NAMED = [trial(0, 2.0, MAGNITUDE, "magnitude"), trial(1, 1.0, WANDA, "wanda"), trial(2, 0.95, RIA, "ria")]


def confirmed(kl: float, reference: float, error: float = 0.01) -> Choice:
    trials = [*NAMED, FOUND]
    return confirm(choose(trials, TARGET), Confirmation(8, kl, reference, error), trials, TARGET)


def test_the_smallest_error_is_chosen() -> None:
    choice = choose([*NAMED, FOUND], TARGET)
    assert choice.trial is FOUND


def test_a_target_that_no_row_can_have_is_refused() -> None:
    with refused(0.7, "0.5;"):
        choose(NAMED, Target(0.7, SPARSITY_TOLERANCE))


def test_wording_of_the_reason() -> None:
    assert choose([*NAMED, FOUND], TARGET).reason == (
        "Trial 7, of 4 on target in the last round, has the smallest kl of all, 0.900 times Wanda's."
    )
    assert confirmed(1.2, 1.0).reason.endswith("So the recipe stays with ria, the best of the named metrics.")


@pytest.mark.parametrize(("kl", "reference", "error"), [(0.9, 1.0, 0.01), (0.9, math.inf, math.inf)])
def test_what_beats_wanda_on_other_sequences_stays(kl: float, reference: float, error: float) -> None:
    assert confirmed(kl, reference, error) == choose([*NAMED, FOUND], TARGET)


@pytest.mark.parametrize("kl", [0.985, 1.0, 1.2, math.inf])
def test_what_does_not_gives_way_to_the_best_named_metric(kl: float) -> None:
    choice = confirmed(kl, 1.0)
    assert choice.trial.name == "ria"
    assert choice.front == [FOUND, NAMED[2]]


def test_a_named_metric_that_was_chosen_stays() -> None:
    before = choose(NAMED, TARGET)
    assert confirm(before, Confirmation(8, 1.0, 1.0, 0.01), NAMED, TARGET) is before
