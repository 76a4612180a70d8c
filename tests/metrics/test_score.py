"""Scores against the paper's formula, written out element by element in float64."""

import math
from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch

from optishear.masks.select import row_mask
from optishear.metrics.canonical import distinct_meta_metrics
from optishear.metrics.metric import MAGNITUDE, RIA, WANDA, MetaMetric, PowerMetric
from optishear.metrics.operations import Coefficient, Operation
from optishear.metrics.score import LayerScores, scores

WEIGHT = torch.from_numpy(np.random.default_rng(1).normal(0, 0.5, (6, 10)))
SQUARED_NORMS = torch.from_numpy(np.random.default_rng(2).gamma(2.0, 2.0, 10))


def by_definition(metric: MetaMetric) -> list[list[float]]:
    """S = c_W u_W(|W|) c_X u_X(x), one weight at a time, with plain Python arithmetic."""
    magnitudes = WEIGHT.abs().tolist()
    squared = SQUARED_NORMS.tolist()
    norms = [math.sqrt(value) for value in squared]
    return [
        [
            coefficient(metric.weight_coefficient, magnitudes, row, column)
            * operation(metric.weight_operation, magnitudes[row], column)
            * coefficient(metric.activation_coefficient, [squared], 0, column)
            * operation(metric.activation_operation, norms, column)
            for column in range(len(squared))
        ]
        for row in range(len(magnitudes))
    ]


def operation(name: Operation, row: list[float], column: int) -> float:
    value = row[column]
    return {
        "identity": value,
        "sqrt": math.sqrt(value),
        "square": value**2,
        "exp": math.exp(value),
        "log": math.log(1 + value),
        "sigmoid": 1 / (1 + math.exp(-value)),
        "softmax": math.exp(value) / sum(math.exp(each) for each in row),
    }[name]


def coefficient(name: Coefficient, matrix: list[list[float]], row: int, column: int) -> float:
    row_sum = sum(matrix[row])
    column_sum = sum(each[column] for each in matrix)
    everything = [value for each in matrix for value in each]
    return {
        "none": 1.0,
        "row_sum": 1 / row_sum,
        "column_sum": 1 / column_sum,
        "relative_sum": 1 / (row_sum + column_sum),
        "sum": 1 / sum(everything),
        "mean": len(everything) / sum(everything),
        "frobenius": 1 / math.sqrt(sum(value**2 for value in everything)),
    }[name]


@pytest.mark.parametrize("weight_operation", get_args(Operation))
@pytest.mark.parametrize("weight_coefficient", get_args(Coefficient))
def test_masks_follow_the_definition(weight_coefficient: Coefficient, weight_operation: Operation) -> None:
    for activation_coefficient, activation_operation in product(get_args(Coefficient), get_args(Operation)):
        metric = MetaMetric(
            weight_coefficient=weight_coefficient,
            weight_operation=weight_operation,
            activation_coefficient=activation_coefficient,
            activation_operation=activation_operation,
        )
        expected = [
            sorted(range(10), key=lambda column, row=row: row[column])[:5] for row in map(list, by_definition(metric))
        ]
        mask = row_mask(scores(metric, WEIGHT, SQUARED_NORMS), 5)
        assert [sorted(row) for row in expected] == [(~row).nonzero().squeeze(1).tolist() for row in mask], metric


def test_wanda_is_its_closed_form() -> None:
    expected = WEIGHT.abs() * SQUARED_NORMS.sqrt()
    torch.testing.assert_close(scores(WANDA, WEIGHT, SQUARED_NORMS), expected)
    same_point = PowerMetric(activation_exponent=1.0)
    torch.testing.assert_close(scores(same_point, WEIGHT, SQUARED_NORMS), expected)


def test_ria_is_its_closed_form() -> None:
    """Zhang et al. 2024: (|W| / column sum + |W| / row sum) sqrt(x), here up to the constant factor 1/2."""
    magnitudes = WEIGHT.abs()
    relative = magnitudes / magnitudes.sum(0, keepdim=True) + magnitudes / magnitudes.sum(1, keepdim=True)
    expected = relative * SQUARED_NORMS.sqrt().sqrt()
    torch.testing.assert_close(2 * scores(RIA, WEIGHT, SQUARED_NORMS), expected)


def test_magnitude_ignores_the_activations() -> None:
    torch.testing.assert_close(scores(MAGNITUDE, WEIGHT, SQUARED_NORMS), WEIGHT.abs())


def test_all_column_share_is_a_pure_column_sum() -> None:
    metric = PowerMetric(activation_exponent=0.5, sums_exponent=1.5, column_share=1.0)
    expected = WEIGHT.abs() * SQUARED_NORMS**0.25 / WEIGHT.abs().sum(0) ** 1.5
    torch.testing.assert_close(scores(metric, WEIGHT, SQUARED_NORMS), expected)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("metric", [WANDA, RIA, MAGNITUDE, MetaMetric(weight_operation="exp")])
def test_weights_that_are_not_finite_are_pruned_first(bad: float, metric: MetaMetric | PowerMetric) -> None:
    weight = WEIGHT.clone()
    weight[2, 3] = bad
    mask = row_mask(scores(metric, weight, SQUARED_NORMS), 1)
    assert not mask[2, 3]
    assert (~mask).sum(dim=1).tolist() == [1] * 6


@pytest.mark.parametrize("weight_operation", get_args(Operation))
@pytest.mark.parametrize("activation_operation", get_args(Operation))
def test_zeros_never_raise_and_are_pruned_before_others(
    weight_operation: Operation, activation_operation: Operation
) -> None:
    metric = MetaMetric(weight_operation=weight_operation, activation_operation=activation_operation)
    weight = torch.ones(2, 4)
    weight[0, 1] = 0
    mask = row_mask(scores(metric, weight, torch.ones(4)), 1)
    assert mask[0].tolist() == [True, False, True, True]
    assert torch.isfinite(scores(metric, torch.zeros(2, 4), torch.zeros(4))).all()


def test_dead_layer_divides_by_zero_and_prunes_all_the_same() -> None:
    for name in get_args(Coefficient):
        metric = MetaMetric(weight_coefficient=name, activation_coefficient=name)
        mask = row_mask(scores(metric, torch.zeros(3, 4), torch.zeros(4)), 2)
        assert (~mask).sum(dim=1).tolist() == [2, 2, 2]


def test_large_activations_do_not_overflow_the_exponential() -> None:
    metric = MetaMetric(activation_operation="exp")
    values = scores(metric, torch.ones(1, 3), torch.tensor([1.0, 500.0**2, 499.0**2]))
    assert values.argsort().squeeze().tolist() == [0, 2, 1]


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
@pytest.mark.parametrize(
    "metric",
    [
        *distinct_meta_metrics().values(),
        RIA,
        PowerMetric(activation_exponent=0.3, sums_exponent=0.7, column_share=0.2),
        PowerMetric(activation_exponent=0.3, sums_exponent=0.7, column_share=1.0),
    ],
    ids=str,
)
def test_rows_by_themselves_have_the_bits_of_the_whole_layer(
    metric: MetaMetric | PowerMetric, bad: float | None
) -> None:
    weight = torch.from_numpy(np.random.default_rng(4).normal(0, 0.5, (150, 67))).to(torch.bfloat16)
    squared_norms = torch.from_numpy(np.random.default_rng(5).gamma(2.0, 2.0, 67)).float()
    if bad is not None:
        weight[4, 7] = bad
        squared_norms[11] = bad
    layer = LayerScores(metric, weight, squared_norms)
    by_blocks = torch.cat([layer.rows(slice(start, start + 64)) for start in range(0, 150, 64)])
    assert torch.equal(by_blocks, scores(metric, weight, squared_norms))
