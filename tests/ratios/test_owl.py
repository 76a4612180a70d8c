import pytest
import torch
from torch import nn

from optishear.models.layers import PrunableLayer
from optishear.ratios.allocate import allocate
from optishear.ratios.owl import outlier_shares, owl_ratios
from optishear.statistics.statistics import Statistics


def layers_of(*weights: list[list[list[float]]]) -> tuple[list[PrunableLayer], Statistics]:
    """Decoder layers of given weights, with inputs of norm 1."""
    layers = []
    for index, block in enumerate(weights):
        for place, rows in enumerate(block):
            module = nn.Linear(len(rows[0]), len(rows), bias=False)
            module.weight = nn.Parameter(torch.tensor(rows))
            layers.append(PrunableLayer(f"blocks.{index}.linear{place}", module, index, "mlp_in"))
    norms = {layer.name: torch.ones(layer.module.in_features) for layer in layers}
    return layers, Statistics(norms)


FLAT = [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
ONE = [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 20.0]]


def test_outliers_are_counted_against_the_mean_of_the_whole_decoder_layer() -> None:
    # One of sixteen scores, 20, against five times the mean 35 / 16.
    layers, statistics = layers_of([FLAT, ONE], [FLAT, FLAT])
    assert outlier_shares(layers, statistics).tolist() == [1 / 16, 0]
    assert outlier_shares(layers, statistics, threshold=10.0).tolist() == [0, 0]


def test_the_scores_are_wandas() -> None:
    layers, statistics = layers_of([FLAT])
    loud = torch.ones(8)
    loud[3] = 400.0  # a squared norm: the channel's scores are 20
    assert outlier_shares(layers, Statistics({layers[0].name: loud})).tolist() == [1 / 8]
    assert outlier_shares(layers, statistics).tolist() == [0]


def test_ratios_span_twice_the_reach_and_keep_the_mean() -> None:
    layers, statistics = layers_of([FLAT, ONE], [FLAT, FLAT], [ONE, ONE])
    # Shares 1/16, 0 and 1/8 become 0.08, 0 and 0.16 of density, around their mean of 0.08.
    assert owl_ratios(layers, statistics, 0.6).tolist() == pytest.approx([0.6, 0.68, 0.52])
    assert allocate("owl", layers, statistics, 0.6)["all"] == pytest.approx([0.6, 0.68, 0.52])


def test_layers_alike_are_pruned_alike() -> None:
    layers, statistics = layers_of([ONE], [ONE])
    assert owl_ratios(layers, statistics, 0.5).tolist() == [0.5, 0.5]
    assert allocate("owl", layers, statistics, 0.5)["all"] == pytest.approx([0.5, 0.5])


def test_ratios_beyond_what_can_be_pruned_are_clipped_and_made_up_for() -> None:
    layers, statistics = layers_of([FLAT], [ONE])
    ratios = allocate("owl", layers, statistics, 0.95)["all"]
    assert ratios == pytest.approx([0.99, 0.91])
