"""The end of a curve, from its beginning."""

import math

import pytest

from optishear.recovery.budget import Budget
from optishear.recovery.curve import CurvePoint, extrapolate, has_stopped_falling


def curve(*divergences: float) -> list[CurvePoint]:
    return [CurvePoint(1000 * number, float(number), kl) for number, kl in enumerate(divergences)]


def test_a_power_law_is_continued_exactly() -> None:
    points = [CurvePoint(1000 * n, 0.0, 2.0 * (1000 * n) ** -0.3) for n in range(1, 11)]
    found = extrapolate(points, 40_000)
    assert found is not None
    assert found.kl == pytest.approx(2.0 * 40_000**-0.3)
    assert found.low == pytest.approx(found.high)


def test_noise_widens_the_interval_and_it_holds_the_value() -> None:
    points = [CurvePoint(1000 * n, 0.0, (1000 * n) ** -0.3 * (1.02 if n % 2 else 0.98)) for n in range(1, 11)]
    near, far = extrapolate(points, 12_000), extrapolate(points, 100_000)
    assert near is not None
    assert far is not None
    assert near.low < 12_000**-0.3 < near.high
    assert math.log(far.high / far.low) > math.log(near.high / near.low)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_few_points_lead_nowhere(count: int) -> None:
    assert extrapolate(curve(*[1.0 / (n + 1) for n in range(count)]), 10_000) is None


def test_points_that_are_not_finite_are_left_out() -> None:
    assert extrapolate(curve(1.0, math.inf, math.nan, 0.9, 0.8, 0.7, 0.6), 10_000) is not None


def test_stopped_falling() -> None:
    falling = [1.0 - 0.01 * number for number in range(20)]
    assert not has_stopped_falling(curve(*falling))
    assert not has_stopped_falling(curve(*[1.0] * 4))
    assert has_stopped_falling(curve(*falling, *[falling[-1]] * 6))
    assert not has_stopped_falling(curve(*falling, *[falling[-1]] * 5, 0.7))


@pytest.mark.parametrize(
    ("budget", "share"),
    [
        (Budget(100.0, None), 0.25),
        (Budget(None, 1000), 0.5),
        (Budget(100.0, 1000), 0.5),
        (Budget(10.0, 1000), 1.0),
    ],
    ids=str,
)
def test_the_nearer_limit_counts(budget: Budget, share: float) -> None:
    assert budget.progress(25.0, 500) == share
    assert budget.tokens_at_end(500, 25.0) == round(500 / share)
