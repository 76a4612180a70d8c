"""The recovery's curve and what stands under it."""

import pytest

from optishear.recovery.curve import CurvePoint
from optishear.recovery.summary import RecoverySummary
from optishear.report import captions
from optishear.report.recovery import recovery_curve


def summary(kls: list[float], halvings: int = 0) -> RecoverySummary:
    curve = tuple(CurvePoint(tokens=1000 * at, seconds=60.0 * at, kl=kl) for at, kl in enumerate(kls))
    return RecoverySummary(
        before=kls[0],
        after=min(kls),
        tokens=curve[-1].tokens,
        steps=10,
        sequences_per_step=1,
        step_length=512,
        rate=0.001,
        halvings=halvings,
        seconds=curve[-1].seconds,
        curve=curve,
    )


def test_every_check_is_a_point_and_the_best_has_a_ring_and_its_value() -> None:
    figure = recovery_curve(summary([0.5, 0.4, 0.3, 0.35]))
    lines = figure.axes[0].lines
    assert list(lines[0].get_ydata()) == [0.5, 0.4, 0.3, 0.35]
    assert list(lines[1].get_xdata()) == [2000]
    assert "0.300" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(("halvings", "words"), [(1, "risen once, so"), (3, "risen 3 times, so")])
def test_halved_steps_are_reported(halvings: int, words: str) -> None:
    assert words in captions.recovery(summary([0.5, 0.6, 0.4], halvings))
    assert "risen" not in captions.recovery(summary([0.5, 0.4]))


def test_a_recovery_without_a_gain_says_so() -> None:
    assert "No check was better than the start" in captions.recovery(summary([0.5, 0.6], 1))
