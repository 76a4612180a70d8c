"""Candidates are put on the weights exactly, and taken off without a trace."""

import pytest
import torch

from optishear.masks.select import keep_mask, row_ranks
from optishear.metrics.metric import RIA, WANDA, MetaMetric
from optishear.metrics.score import scores
from optishear.models.layers import prunable_layers
from optishear.pattern import parse_pattern
from optishear.searching import masked_weights
from optishear.searching.masked_weights import MaskedWeights
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model

MODEL = tiny_model()
LAYERS = prunable_layers(MODEL)
STATISTICS = collect_statistics(MODEL, random_calibration(), progress=False)
DENSE = [layer.module.weight.clone() for layer in LAYERS]


def expected(metric: MetaMetric, count: int, written: str) -> list[torch.Tensor]:
    pattern = parse_pattern(written)
    return [
        dense * keep_mask(scores(metric, dense, STATISTICS.squared_norms[layer.name]), pattern, count)
        for layer, dense in zip(LAYERS, DENSE, strict=True)
    ]


def assert_weights(wanted: list[torch.Tensor]) -> None:
    for layer, weight in zip(LAYERS, wanted, strict=True):
        assert torch.equal(layer.module.weight, weight), layer.name


def test_any_sequence_of_candidates_equals_each_one_alone() -> None:
    for budget in (0.0, 1e9):
        with MaskedWeights(LAYERS, STATISTICS, parse_pattern("0.5"), budget) as weights:
            for metric, count in [(WANDA, 16), (WANDA, 20), (WANDA, 5), (RIA, 5), (WANDA, 5), (WANDA, 6), (RIA, 31)]:
                weights.apply([metric] * len(LAYERS), [count] * len(LAYERS))
                assert_weights(expected(metric, count, "0.5"))
        assert_weights(DENSE)


def test_groups() -> None:
    with MaskedWeights(LAYERS, STATISTICS, parse_pattern("2:4"), 0) as weights:
        weights.apply([RIA] * len(LAYERS), [16] * len(LAYERS))
        assert_weights(expected(RIA, 16, "2:4"))
    assert_weights(DENSE)


def test_only_changed_layers_are_touched() -> None:
    counts = [16] * len(LAYERS)
    with MaskedWeights(LAYERS, STATISTICS, parse_pattern("0.5"), 1e9) as weights:
        assert weights.apply([WANDA] * len(LAYERS), counts) == len(LAYERS)
        assert weights.apply([WANDA] * len(LAYERS), counts) == 0
        same_masks = MetaMetric(weight_coefficient="mean", activation_coefficient="sum")
        assert weights.apply([same_masks] * len(LAYERS), counts) == 0
        assert weights.apply([WANDA] * len(LAYERS), [17, *counts[1:]]) == 1


def test_ranks_are_kept_within_the_budget() -> None:
    first = LAYERS[0].module.weight.numel() * 2
    with MaskedWeights(LAYERS, STATISTICS, parse_pattern("0.5"), first) as weights:
        weights.apply([WANDA] * len(LAYERS), [16] * len(LAYERS))
        assert weights.rank_cache_bytes == 0
        weights.apply([WANDA] * len(LAYERS), [18] * len(LAYERS))
        assert weights.rank_cache_bytes == first
        assert_weights(expected(WANDA, 18, "0.5"))


def test_ranks_that_the_costs_need_serve_the_next_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = []
    monkeypatch.setattr(masked_weights, "row_ranks", lambda scores: ranked.append(len(scores)) or row_ranks(scores))
    with MaskedWeights(LAYERS, STATISTICS, parse_pattern("0.5"), 1e9) as weights:
        weights.apply([WANDA] * len(LAYERS), [16] * len(LAYERS))
        assert not ranked
        for count in (16, 19, 13):
            for index, dense in enumerate(DENSE):
                weights.mean_near_threshold(index, torch.ones_like(dense), 0.1)
            weights.apply([WANDA] * len(LAYERS), [count] * len(LAYERS))
            assert_weights(expected(WANDA, count, "0.5"))
        assert sum(ranked) == sum(len(dense) for dense in DENSE)


@pytest.mark.parametrize("count", [1, 16, 31])
@pytest.mark.parametrize("budget", [0.0, 1e9])
def test_the_mean_next_to_the_threshold(count: int, budget: float) -> None:
    with MaskedWeights(LAYERS, STATISTICS, parse_pattern("0.5"), budget) as weights:
        weights.apply([WANDA] * len(LAYERS), [count] * len(LAYERS))
        for index, (layer, dense) in enumerate(zip(LAYERS, DENSE, strict=True)):
            gradient = torch.randn(dense.shape, generator=torch.Generator().manual_seed(index))
            order = scores(WANDA, dense, STATISTICS.squared_norms[layer.name]).argsort(dim=1, stable=True)
            width = max(2, int(0.1 * dense.shape[1]))
            near = order[:, max(0, count - width) : count + width]
            direct = -(gradient * dense.detach()).gather(1, near).mean()
            found = weights.mean_near_threshold(index, gradient, 0.1)
            assert found == pytest.approx(float(direct), rel=1e-4, abs=1e-7)


def test_weights_that_are_not_numbers_come_back_too() -> None:
    model = tiny_model(seed=1)
    layers = prunable_layers(model)
    with torch.no_grad():
        layers[0].module.weight[0, 0] = torch.nan
    before = [layer.module.weight.clone() for layer in layers]
    with MaskedWeights(layers, STATISTICS, parse_pattern("0.5"), 1e9) as weights:
        weights.apply([WANDA] * len(layers), [16] * len(layers))
        assert all(torch.isfinite(layer.module.weight).all() for layer in layers)
    for layer, weight in zip(layers, before, strict=True):
        assert torch.equal(layer.module.weight.nan_to_num(7), weight.nan_to_num(7))
