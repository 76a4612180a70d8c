"""Closed forms of the distance and of the activations' share."""

import math

import pytest
import torch
from torch import nn

from optishear.diagnosis.alignment import alignment, alignment_table, log_mean
from optishear.diagnosis.factors import log_factors
from optishear.metrics.metric import WANDA, MetaMetric
from optishear.models.layers import PrunableLayer

LAYER = PrunableLayer("model.layers.3.mlp.up_proj", nn.Linear(2, 2), 3, "mlp_in")


def test_the_distance_is_in_orders_of_magnitude() -> None:
    row = alignment(LAYER, "wanda", *log_factors(WANDA, torch.full((2, 2), -0.01), torch.tensor([100.0, 100.0])))
    assert (row.layer, row.decoder_layer, row.kind) == (LAYER.name, 3, "mlp_in")
    assert row.weight_scale == pytest.approx(-2)
    assert row.activation_scale == pytest.approx(1)
    assert row.distance == pytest.approx(3)
    assert math.isnan(row.activation_share)


def test_the_mean_counts_zeros_and_leaves_out_what_is_no_number() -> None:
    assert log_mean(torch.tensor([[0.0, -torch.inf]])) == pytest.approx(math.log10(0.5))
    assert log_mean(torch.tensor([[2.0, torch.nan, torch.inf]])) == pytest.approx(2)
    assert math.isnan(log_mean(torch.tensor([[torch.nan]])))


def test_the_share_is_that_of_the_variance_inside_a_row() -> None:
    # The rows differ by a factor, which decides nothing inside a row.
    weights = torch.tensor([[0.0, 2.0], [100.0, 102.0]])
    assert alignment(LAYER, "", weights, torch.tensor([[0.0, 2.0]])).activation_share == pytest.approx(0.5)
    assert alignment(LAYER, "", weights, torch.tensor([[0.0, 4.0]])).activation_share == pytest.approx(0.8)
    assert alignment(LAYER, "", weights, torch.tensor([[1.0, 1.0]])).activation_share == 0
    dead = torch.tensor([[0.0, 2.0], [-torch.inf, 102.0]])
    assert alignment(LAYER, "", dead, torch.tensor([[0.0, 2.0]])).activation_share == pytest.approx(0.5)


def test_the_share_is_the_same_for_every_way_of_writing_a_metric() -> None:
    weight, squared_norms = torch.randn(16, 32), torch.rand(32)
    forms = [
        MetaMetric(),
        MetaMetric(weight_coefficient="mean", activation_coefficient="frobenius"),
        MetaMetric(weight_coefficient="row_sum", weight_operation="square", activation_operation="square"),
    ]
    rows = [alignment(LAYER, "", *log_factors(metric, weight, squared_norms)) for metric in forms]
    assert [row.activation_share for row in rows] == pytest.approx([rows[0].activation_share] * 3, rel=1e-4)
    assert rows[1].distance != pytest.approx(rows[0].distance, rel=0.01)


def test_the_table_has_one_row_per_layer_and_method() -> None:
    rows = [alignment(LAYER, method, torch.zeros(2, 2), torch.zeros(1, 2)) for method in ("wanda", "searched")]
    assert alignment_table(rows).column("method").to_pylist() == ["wanda", "searched"]
