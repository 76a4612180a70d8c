"""Format numbers, durations, sizes and patterns for the report."""

import math

from optishear.pattern import Pattern
from optishear.run_metrics.schema import Model
from optishear.units import format_bytes

SPACE = "\N{NO-BREAK SPACE}"
TITLES: dict[Model, str] = {"dense": "dense", "wanda": "Wanda", "sparsegpt": "SparseGPT", "pruned": "pruned"}


def percent(fraction: float, digits: int = 1) -> str:
    """``0.5`` as ``50 %``; at most ``digits`` decimals, and no trailing zeros."""
    rounded = round(100 * fraction, digits) + 0.0
    return f"{rounded:.{digits}f}".rstrip("0").rstrip(".") + f"{SPACE}%" if digits else f"{rounded:.0f}{SPACE}%"


def sparsity_words(pattern: Pattern, dense_share: float = 0.0) -> str:
    """``50 % pruned``, ``2:4 pruned (50 %)`` or ``2:4 beside 10 % dense (45 % pruned)``."""
    if dense_share:
        return f"{pattern} beside {percent(dense_share)} dense ({percent(pattern.fraction * (1 - dense_share))} pruned)"
    if pattern.is_structured:
        return f"{pattern} pruned ({percent(pattern.fraction)})"
    return f"{percent(pattern.fraction)} pruned"


def number(value: float | None, missing: str = "not measured") -> str:
    """A measured value to three significant digits, or ``missing``."""
    if value is None:
        return missing
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite"
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return f"{value:.2e}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    whole = len(f"{int(abs(value))}") if abs(value) >= 1 else 0
    return f"{value:.{3 - whole}f}"


def duration(seconds: float | None) -> str:
    """Seconds as ``12.3 s``, ``4 min 05 s`` or ``2 h 13 min``."""
    if seconds is None or not math.isfinite(seconds):
        return number(seconds)
    if seconds < 59.95:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest:02d}{SPACE}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{SPACE}h {minutes:02d}{SPACE}min"


def memory(size: float | None) -> str:
    """Bytes in binary units; special values as in ``number``."""
    if size is None or not math.isfinite(size):
        return number(size)
    return format_bytes(size, SPACE)
