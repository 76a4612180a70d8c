from typing import get_args

import pytest

from optishear.models.layers import prunable_layers
from optishear.parameters.search import RatioPrior
from optishear.ratios.allocate import allocate
from optishear.ratios.priors import LINEAR_REACHES, prior_curves
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model

MODEL = tiny_model(layers=4)
LAYERS = prunable_layers(MODEL)
STATISTICS = collect_statistics(MODEL, random_calibration(), progress=False)


@pytest.mark.parametrize("prior", get_args(RatioPrior))
def test_every_prior_meets_the_target_on_equal_layers(prior: RatioPrior) -> None:
    for curve in prior_curves(prior, LAYERS, STATISTICS, 0.6).values():
        assert len(curve) == 4
        assert sum(curve) / 4 == pytest.approx(0.6)


def test_a_linear_prior_is_an_arithmetic_progression() -> None:
    curves = prior_curves("linear", LAYERS, STATISTICS, 0.6)
    assert list(curves) == [f"linear {reach:g}" for reach in LINEAR_REACHES]
    assert curves["linear 0.15"] == pytest.approx([0.45, 0.55, 0.65, 0.75])


def test_one_decoder_layer_has_one_ratio() -> None:
    layers = prunable_layers(tiny_model(layers=1))
    assert {tuple(curve) for curve in prior_curves("linear", layers, STATISTICS, 0.6).values()} == {(0.6,)}


def test_published_priors_are_those_of_the_methods() -> None:
    assert prior_curves("dlp", LAYERS, STATISTICS, 0.6) == {"dlp": allocate("dlp", LAYERS, STATISTICS, 0.6)["all"]}
