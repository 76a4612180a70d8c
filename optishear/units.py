"""Durations and sizes: read from text such as ``10m`` and ``20G``, and formatted for display."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema

from optishear.text_value import text_schema

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST = 10 * 365.25 * 86400
_TIME_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BYTES |= {f"{unit}I": 2 ** (10 * power) for power, unit in enumerate("KMGT", 1)}


@dataclass(frozen=True)
class Duration:
    """A time to take.

    Attributes:
        text: as it was written, ``10m``.
        seconds: more than zero.
    """

    text: str
    seconds: float

    def __str__(self) -> str:
        return self.text

    def times(self, count: int) -> "Duration":
        """So many times this duration."""
        seconds = count * self.seconds
        return Duration(f"{seconds}s", seconds)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return text_schema(cls, parse_duration)


def parse_duration(text: Any) -> Duration:
    """Read a duration such as ``90s``, ``10m``, ``2h``, ``30d`` or ``8w``.

    Raises:
        ValueError: if it is none, is zero, or is longer than ten years.
    """
    seconds = _quantity(text, _SECONDS) if isinstance(text, str) else None
    if not seconds:
        raise ValueError(f"{str(text)[:40]!r} is not a duration such as 90s, 10m or 2h")
    if seconds > _LONGEST:
        raise ValueError(f"{text!r} is longer than ten years")
    return Duration(text.strip(), seconds)


def parse_bytes(text: str) -> int:
    """Bytes of a size such as ``500M``, ``20G`` or ``20GiB``.

    Raises:
        ValueError: if the text is none.
    """
    size = _quantity(text.upper().removesuffix("B"), _BYTES)
    if size is None:
        raise ValueError(f"{text!r} is not a size such as 500M or 20GiB")
    return int(size)


def format_bytes(size: float, space: str = " ") -> str:
    """Format bytes in binary units, to three significant digits.

    Args:
        size: bytes.
        space: between number and unit.
    """
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    decimals = 0 if unit == "B" or size >= 100 else 1 if size >= 10 else 2
    return f"{size:.{decimals}f}{space}{unit}"


def format_seconds(seconds: float) -> str:
    """Format seconds: ``45 s``, ``7 min 20 s``, ``3 h 5 min`` or ``2 d 4 h``."""
    whole = round(seconds)
    for size, unit, smaller_size, smaller_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"


def _quantity(text: str, units: Mapping[str, int]) -> float | None:
    """The number with its unit; ``None`` where the text is none."""
    matched = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([a-zA-Z]*)", text.strip())
    if matched is None or matched[2] not in units:
        return None
    return float(matched[1]) * units[matched[2]]
