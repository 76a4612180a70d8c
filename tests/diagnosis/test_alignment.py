"""Closed forms of the distance and of the activations' share."""

import math

import pyarrow as pa
import pytest
import torch
from torch import nn

from optishear.diagnosis.alignment import Alignment, alignment, alignment_table, log_mean
from optishear.diagnosis.diagnosis import Diagnosis
from optishear.diagnosis.distributions import Distributions
from optishear.diagnosis.factors import log_factors
from optishear.diagnosis.layer_errors import BLOCK_SCHEMA, LAYER_SCHEMA
from optishear.metrics.metric import WANDA, MetaMetric
from optishear.models.layers import Kind, PrunableLayer

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


def row(layer: str, kind: Kind, method: str, distance: float) -> Alignment:
    return Alignment(layer, 0, kind, method, 0.0, distance, distance, 0.5)


def test_by_how_much_the_distance_shrank_is_told_by_layer_and_by_kind() -> None:
    table = alignment_table(
        [
            row("q", "attention_in", "wanda", 2.0), row("q", "attention_in", "pruned", 0.5),
            row("k", "attention_in", "wanda", 1.0), row("k", "attention_in", "pruned", 1.5),
            row("up", "mlp_in", "wanda", 0.0), row("up", "mlp_in", "pruned", 1.0),
            row("down", "mlp_out", "pruned", 1.0),
        ]
    )  # fmt: skip
    shares = {(each["layer"], each["method"]): each["shrank_by"] for each in table.to_pylist()}
    assert shares["q", "pruned"] == 0.75
    assert shares["k", "pruned"] == -0.5
    assert all(share is None for key, share in shares.items() if key[0] not in "qk" or key[1] == "wanda")
    errors, blocks = (pa.Table.from_pylist([], schema=schema) for schema in (LAYER_SCHEMA, BLOCK_SCHEMA))
    summary = Diagnosis(table, Distributions().table(), errors, blocks).summary()
    # 1 less the ratio of the means: 2 of 3 orders of magnitude are left.
    assert summary.alignment_shrank_by_kind == {
        "attention_in": pytest.approx(1 / 3), "mlp_in": None, "mlp_out": None,
    }  # fmt: skip
