"""Held-out divergence against the text that a recovery was trained on, and where it leads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The first checks, while the step width rises and right after, do not lie on the line of the others.
_FEWEST_POINTS = 4
# So many checks without a gain of this share mean that there is none to come.
_CHECKS_WITHOUT_GAIN, _SMALLEST_GAIN = 6, 0.001


@dataclass(frozen=True)
class CurvePoint:
    """One check.

    Attributes:
        tokens: trained on so far.
        seconds: of the recovery so far.
        kl: mean KL divergence from the dense model on the held-out text, in nats per token.
    """

    tokens: int
    seconds: float
    kl: float


@dataclass(frozen=True)
class Extrapolation:
    """The expected held-out divergence at the end.

    Attributes:
        tokens: trained on at the end.
        kl: in nats per token.
        low: lower end of the 80 % prediction interval.
        high: upper end.
    """

    tokens: int
    kl: float
    low: float
    high: float


def has_stopped_falling(curve: Sequence[CurvePoint]) -> bool:
    """Whether the last checks were no better than the best one before them."""
    if len(curve) <= _CHECKS_WITHOUT_GAIN:
        return False
    earlier = min(point.kl for point in curve[:-_CHECKS_WITHOUT_GAIN])
    latest = min(point.kl for point in curve[-_CHECKS_WITHOUT_GAIN:])
    return latest > (1 - _SMALLEST_GAIN) * earlier


def extrapolate(curve: Sequence[CurvePoint], tokens: int) -> Extrapolation | None:
    """Continue a curve by a power law, a line in logarithms that is fitted to the later half of the points.

    The step width falls towards the end, which the line does not know, so that the end is mostly better.

    Args:
        curve: points in the order of their tokens.
        tokens: trained on at the end.

    Returns:
        ``None`` with too few points.
    """
    points = [point for point in curve if point.tokens > 0 and 0 < point.kl < math.inf]
    points = points[min(len(points) // 2, max(0, len(points) - _FEWEST_POINTS)) :]
    if len(points) < _FEWEST_POINTS:
        return None
    x = np.log([point.tokens for point in points])
    y = np.log([point.kl for point in points])
    slope, intercept = np.polyfit(x, y, 1)
    residuals = y - (slope * x + intercept)
    variance = float(residuals @ residuals) / (len(points) - 2)
    at = math.log(tokens)
    spread = float(((x - x.mean()) ** 2).sum())
    error = math.sqrt(variance * (1 + 1 / len(points) + (at - x.mean()) ** 2 / spread))
    expected = slope * at + intercept
    # 90th percentile of the normal distribution.
    width = 1.2816 * error
    return Extrapolation(tokens, math.exp(expected), math.exp(expected - width), math.exp(expected + width))
