"""Equal keys give identical masks, and different keys do not."""

from itertools import groupby

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optishear.masks.select import row_mask
from optishear.metrics.canonical import all_meta_metrics, canonical_key, distinct_meta_metrics
from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.metrics.operations import COEFFICIENTS, OPERATIONS
from optishear.metrics.score import scores


def literal_scores(metric: MetaMetric, weight: torch.Tensor, squared: torch.Tensor) -> torch.Tensor:
    """The metric itself in float64, not its class's representative."""
    row = squared.reshape(1, -1)
    return (
        COEFFICIENTS[metric.weight_coefficient](weight.abs())
        * OPERATIONS[metric.weight_operation](weight.abs())
        * COEFFICIENTS[metric.activation_coefficient](row)
        * OPERATIONS[metric.activation_operation](row.sqrt())
    )


def test_the_space_has_2401_metrics_in_315_classes() -> None:
    assert len(all_meta_metrics()) == 7**4
    assert len(distinct_meta_metrics()) == 315


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 6), columns=st.integers(2, 12))
def test_equal_keys_give_identical_masks(seed: int, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    squared = torch.rand(columns, generator=generator, dtype=torch.float64) * 9 + 0.01
    ordered = sorted(all_meta_metrics(), key=lambda metric: str(canonical_key(metric)))
    for key, members in groupby(ordered, key=canonical_key):
        orders = {tuple(literal_scores(m, weight, squared).argsort(dim=1).flatten().tolist()) for m in members}
        assert len(orders) == 1, key


def test_scores_of_equal_metrics_are_equal_to_the_bit() -> None:
    weight, squared = torch.randn(5, 8), torch.rand(8)
    for metric in all_meta_metrics()[::37]:
        representative = distinct_meta_metrics()[canonical_key(metric)]
        assert torch.equal(scores(metric, weight, squared), scores(representative, weight, squared))


def test_different_keys_give_different_masks_somewhere() -> None:
    """Weights and activations at several scales tell all classes apart, so no class is split needlessly."""
    masks: dict[bytes, list[object]] = {}
    generator = torch.Generator().manual_seed(0)
    draws = []
    for weight_scale, activation_scale in [(0.3, 0.1), (1.0, 1.0), (3.0, 3.0), (0.3, 10.0)]:
        spread = torch.randn(1, 48, generator=generator, dtype=torch.float64).exp()
        weight = torch.randn(96, 48, generator=generator, dtype=torch.float64) * spread * weight_scale
        draws.append(
            (weight, (torch.randn(48, generator=generator, dtype=torch.float64).exp() * activation_scale) ** 2)
        )
    for key, metric in distinct_meta_metrics().items():
        seen = b"".join(row_mask(literal_scores(metric, *draw), 24).numpy().tobytes() for draw in draws)
        masks.setdefault(seen, []).append(key)
    assert [keys for keys in masks.values() if len(keys) > 1] == []


def test_the_power_space_holds_the_meta_metrics_of_powers() -> None:
    weight, squared = torch.randn(6, 20, dtype=torch.float64), torch.rand(20, dtype=torch.float64) + 0.1
    meta = MetaMetric(weight_operation="square", activation_coefficient="column_sum", activation_operation="sqrt")
    power = PowerMetric(activation_exponent=(0.5 - 2) / 2)
    assert torch.equal(row_mask(scores(meta, weight, squared), 7), row_mask(scores(power, weight, squared), 7))
