import pytest
import torch
from torch import nn

from optishear.models.layers import PrunableLayer
from optishear.ratios.allocate import allocate
from optishear.ratios.dlp import dlp_ratios, median_scores
from optishear.statistics.statistics import Statistics


def layers_of(*weights: list[torch.Tensor]) -> tuple[list[PrunableLayer], Statistics]:
    """Decoder layers of given weights, with inputs of norm 1."""
    layers = []
    for index, block in enumerate(weights):
        for place, weight in enumerate(block):
            module = nn.Linear(weight.shape[1], len(weight), bias=False)
            module.weight = nn.Parameter(weight)
            layers.append(PrunableLayer(f"blocks.{index}.linear{place}", module, index, "mlp_in"))
    return layers, Statistics({layer.name: torch.ones(layer.module.in_features) for layer in layers})


def constant(value: float) -> torch.Tensor:
    return torch.full((2, 4), value)


def test_the_median_is_that_of_all_scores_of_the_decoder_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    blocks = [[torch.randn(5, 7, generator=generator), torch.randn(9, 4, generator=generator)] for _ in range(3)]
    layers, statistics = layers_of(*blocks)
    expected = [float(torch.cat([weight.abs().flatten() for weight in block]).median()) for block in blocks]
    assert median_scores(layers, statistics).tolist() == expected


def test_the_scores_are_wandas() -> None:
    layers, _ = layers_of([constant(1.0)])
    assert median_scores(layers, Statistics({layers[0].name: torch.full((4,), 9.0)})).tolist() == [3.0]


def test_a_decoder_layer_without_linear_layers_has_no_scores() -> None:
    layers, statistics = layers_of([constant(1.0)], [], [constant(2.0)])
    assert median_scores(layers, statistics).tolist() == [1.0, 0.0, 2.0]


def test_layers_with_a_larger_median_are_pruned_more() -> None:
    layers, statistics = layers_of([constant(1.0)], [constant(2.0)], [constant(5.0)])
    # Importance 1 - S / 8, moved and scaled to [0, 0.3]: d = 0.3, 0.225 and 0, with the mean 0.175.
    expected = [0.7 + 0.175 - 0.3, 0.7 + 0.175 - 0.225, 0.7 + 0.175]
    assert dlp_ratios(layers, statistics, 0.7).tolist() == pytest.approx(expected)
    assert allocate("dlp", layers, statistics, 0.7)["all"] == pytest.approx(expected)


def test_layers_alike_are_pruned_alike() -> None:
    layers, statistics = layers_of([constant(3.0)], [constant(3.0)])
    assert dlp_ratios(layers, statistics, 0.5).tolist() == [0.5, 0.5]
