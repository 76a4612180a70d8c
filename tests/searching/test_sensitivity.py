"""Marginal costs and the descent along them."""

import math

import pytest
import torch

from optishear.divergence import model_divergence
from optishear.divergence.model_divergence import ModelDivergence
from optishear.metrics.metric import WANDA
from optishear.models import loss_scale
from optishear.models.layers import prunable_layers
from optishear.models.loss_scale import FIRST_FACTOR, LossScale
from optishear.pattern import parse_pattern
from optishear.searching import sensitivity
from optishear.searching.descent import CLIP, STEP_WIDTH, RatioDescent
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.sensitivity import marginal_costs
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model

TOKENS = random_calibration(6, 32).tokens


@pytest.mark.parametrize("tokens_per_backward", [32, 2048])
@pytest.mark.parametrize("memory_budget", [0.0, 1e9])
def test_costs_are_the_gradient_by_definition(
    tokens_per_backward: int, memory_budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_divergence, "TOKENS_PER_BACKWARD", tokens_per_backward)
    monkeypatch.setattr(model_divergence, "TOKENS_PER_CHUNK", 20)
    monkeypatch.setattr(sensitivity, "BAND", 0.1)
    model = tiny_model()
    layers = prunable_layers(model)
    dense = [layer.module.weight.clone() for layer in layers]
    statistics = collect_statistics(model, random_calibration(), progress=False)
    error = ModelDivergence(model, TOKENS, ("kl",))
    with torch.no_grad():
        log_p = model(TOKENS[2:5]).logits.log_softmax(-1)
    with MaskedWeights(layers, statistics, parse_pattern("0.5"), memory_budget) as weights:
        weights.apply([WANDA] * len(layers), [15] * len(layers))
        weights.apply([WANDA] * len(layers), [16] * len(layers))
        costs, measured = marginal_costs(weights, error, layers, 2, 3)
        assert measured == [
            {name: pytest.approx(value, rel=1e-5) for name, value in each.items()}
            for each in error.measure_sequences(2, 3)
        ]
        assert not any(parameter.requires_grad for parameter in (layer.module.weight for layer in layers))
        for layer in layers:
            layer.module.weight.requires_grad_(True)
        log_q = model(TOKENS[2:5]).logits.log_softmax(-1)
        (log_p.exp() * (log_p - log_q)).sum(-1).mean().backward()
        for layer, original, cost in zip(layers, dense, costs, strict=True):
            scores = original.abs() * statistics.squared_norms[layer.name].sqrt()
            order = scores.argsort(dim=1, stable=True)
            width = max(2, int(0.1 * original.shape[1]))
            near = order[:, 16 - width : 16 + width]
            assert layer.module.weight.grad is not None
            effects = -(layer.module.weight.grad * original).detach().gather(1, near)
            assert cost == pytest.approx(float(effects.mean()), rel=1e-3, abs=1e-9), layer.name
            layer.module.weight.requires_grad_(False)


def costs_in(dtype: torch.dtype) -> tuple[list[float], float]:
    """The costs of a model with float16's numbers in a dtype, and the factor of the loss that was used."""
    model = tiny_model().half().to(dtype)
    layers, scale = prunable_layers(model), LossScale(dtype)
    error = ModelDivergence(model, TOKENS, ("kl",))
    statistics = collect_statistics(model, random_calibration(), progress=False)
    with MaskedWeights(layers, statistics, parse_pattern("0.5"), 1e9) as weights:
        weights.apply([WANDA] * len(layers), [layer.module.in_features // 2 for layer in layers])
        costs, _ = marginal_costs(weights, error, layers, 0, 6, scale)
    return costs, scale.factor


@pytest.mark.parametrize(("first", "overflows"), [(FIRST_FACTOR, False), (2.0**30, True)])
def test_costs_in_float16_are_those_in_float32(first: float, overflows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "FIRST_FACTOR", first)
    expected, _ = costs_in(torch.float32)
    found, used = costs_in(torch.float16)
    assert 1 < used < first if overflows else used == first
    largest = max(map(abs, expected))
    assert found == [pytest.approx(cost, abs=0.02 * largest) for cost in expected]


def test_a_model_that_is_infinitely_far_away_has_no_costs() -> None:
    model = tiny_model().half()
    layers, scale = prunable_layers(model), LossScale(torch.float16)
    error = ModelDivergence(model, TOKENS, ("kl",))
    statistics = collect_statistics(model, random_calibration(), progress=False)
    with MaskedWeights(layers, statistics, parse_pattern("0.5"), 1e9) as weights, torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
        with torch.enable_grad():
            costs, distances = marginal_costs(weights, error, layers, 0, 2, scale)
    assert all(math.isnan(cost) for cost in costs)
    assert [each["kl"] for each in distances] == [math.inf, math.inf]
    assert scale.factor == FIRST_FACTOR


def test_a_step_moves_the_budget_from_dear_to_cheap() -> None:
    sizes = torch.ones(4, dtype=torch.float64)
    descent = RatioDescent(torch.full((4,), 0.5, dtype=torch.float64), sizes, 0.2, 0.8)
    descent.step(torch.tensor([4.0, 1.0, 2.0, 1.0], dtype=torch.float64), progress=0.0)
    assert descent.ratios[0] < 0.5 - STEP_WIDTH < 0.5 < descent.ratios[1] == descent.ratios[3]
    assert float(descent.ratios.mean()) == pytest.approx(0.5)
    assert float((descent.ratios - 0.5).abs().max()) <= STEP_WIDTH * CLIP


def test_steps_fall_and_stay_inside() -> None:
    descent = RatioDescent(torch.full((2,), 0.5, dtype=torch.float64), torch.ones(2).double(), 0.45, 0.55)
    for _ in range(5):
        descent.step(torch.tensor([1.0, 0.0], dtype=torch.float64), progress=0.0)
    assert descent.ratios.tolist() == pytest.approx([0.45, 0.55])
    before = descent.ratios.clone()
    descent.step(torch.tensor([0.0, 1.0], dtype=torch.float64), progress=1.0)
    assert torch.equal(descent.ratios, before)


def test_costs_that_are_no_numbers_or_all_equal_move_nothing() -> None:
    descent = RatioDescent(torch.full((2,), 0.5, dtype=torch.float64), torch.ones(2).double(), 0.2, 0.8)
    descent.step(torch.tensor([torch.nan, 0.0], dtype=torch.float64), progress=0.0)
    descent.step(torch.tensor([3.0, 3.0], dtype=torch.float64), progress=0.0)
    assert descent.ratios.tolist() == [0.5, 0.5]
