"""The two factors multiply to the score that prunes."""

import pytest
import torch

from optishear.diagnosis.factors import log_factors
from optishear.masks.select import row_mask
from optishear.metrics.canonical import all_meta_metrics
from optishear.metrics.metric import MAGNITUDE, RIA, WANDA, MetaMetric, PowerMetric
from optishear.metrics.score import scores

WEIGHT = torch.tensor([[0.1, -1.0, 10.0], [1.0, 0.5, -0.25]])
SQUARED_NORMS = torch.tensor([1.0, 100.0, 4.0])


def test_wanda_transforms_nothing() -> None:
    weights, activations = log_factors(WANDA, WEIGHT, SQUARED_NORMS)
    assert torch.allclose(10**weights, WEIGHT.abs())
    assert torch.allclose(10**activations, torch.tensor([[1.0, 10.0, 2.0]]))


def test_the_power_space_gives_the_sums_relative_to_their_mean_to_the_weights() -> None:
    weights, activations = log_factors(RIA, WEIGHT, SQUARED_NORMS)
    magnitudes = WEIGHT.abs()
    sums = 0.5 / magnitudes.sum(dim=0, keepdim=True) + 0.5 / magnitudes.sum(dim=1, keepdim=True)
    assert torch.allclose(10**weights, magnitudes * sums / sums.mean())
    assert torch.allclose(10**activations, torch.tensor([[1.0, 10.0, 2.0]]).sqrt())


def test_magnitude_gives_activations_no_say_even_where_they_are_zero() -> None:
    _, activations = log_factors(MAGNITUDE, WEIGHT, torch.tensor([0.0, 4.0, 9.0]))
    assert torch.equal(activations, torch.zeros(1, 3))


@pytest.mark.parametrize("activation", [800.0, 1e-20])
@pytest.mark.parametrize("operation", ["exp", "softmax"])
def test_exponentials_neither_overflow_nor_vanish(operation: str, activation: float) -> None:
    metric = MetaMetric(activation_operation=operation)  # type: ignore[arg-type]
    _, activations = log_factors(metric, WEIGHT, torch.tensor([activation**2, 0.0, 1.0]))
    assert torch.isfinite(activations).all()


def test_the_product_orders_every_row_as_the_score_does() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    squared_norms = torch.rand(8, generator=generator, dtype=torch.float64) * 4
    metrics = [*all_meta_metrics()[::13], RIA, PowerMetric(activation_exponent=0.3, sums_exponent=-1.5)]
    for metric in metrics:
        weights, activations = log_factors(metric, weight, squared_norms)
        expected = row_mask(scores(metric, weight, squared_norms), 4)
        # Float32 logarithms may swap two scores that are nearly equal, and no more.
        assert (row_mask(weights + activations, 4) != expected).sum() <= 2, str(metric)
