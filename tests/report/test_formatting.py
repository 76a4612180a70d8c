import math

import pytest

from optishear.pattern import parse_pattern
from optishear.report.formatting import duration, memory, number, percent, sparsity_words

NBSP = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (22.876, "22.9"),
        (0.7041, "0.704"),
        (436.2, "436"),
        (2843.4, "2,843"),
        (0.0, "0"),
        (3.2e7, "3.20e+07"),
        (0.00012, "1.20e-04"),
        (math.inf, "infinite"),
        (math.nan, "not a number"),
        (None, "not measured"),
    ],
)
def test_numbers_have_three_significant_digits_or_a_reason(value: float | None, text: str) -> None:
    assert number(value) == text


def test_percent_drops_trailing_zeros() -> None:
    assert percent(0.5) == f"50{NBSP}%"
    assert percent(0.4483) == f"44.8{NBSP}%"
    assert percent(0.1486, 0) == f"15{NBSP}%"
    assert percent(-1e-9) == f"0{NBSP}%"


def test_patterns_in_words() -> None:
    assert sparsity_words(parse_pattern("0.5")) == f"50{NBSP}% pruned"
    assert sparsity_words(parse_pattern("2:4")) == f"2:4 pruned (50{NBSP}%)"


def test_durations_and_sizes() -> None:
    assert duration(12.34) == f"12.3{NBSP}s"
    assert duration(59.96) == f"1{NBSP}min 00{NBSP}s"
    assert duration(245) == f"4{NBSP}min 05{NBSP}s"
    assert duration(7980) == f"2{NBSP}h 13{NBSP}min"
    assert duration(None) == "not measured"
    assert memory(900_000_000) == f"858{NBSP}MiB"
    assert memory(3 * 2**30) == f"3.00{NBSP}GiB"
