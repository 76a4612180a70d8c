"""Sparsity as the user writes it."""

import pytest

from optishear.errors import InputError
from optishear.pattern import Pattern, parse_pattern
from wording import refused


@pytest.mark.parametrize(
    ("written", "pattern"),
    [
        ("0.5", Pattern(0.5)),
        (0.6, Pattern(0.6)),
        (0, Pattern(0.0)),
        ("2:4", Pattern(0.5, 2, 4)),
        ("1:4", Pattern(0.75, 1, 4)),
        (" 4:8 ", Pattern(0.5, 4, 8)),
        ("1e-5", Pattern(1e-05)),
        (1 / 3, Pattern(1 / 3)),
        (Pattern(0.5, 2, 4), Pattern(0.5, 2, 4)),
    ],
)
def test_read(written: str | float, pattern: Pattern) -> None:
    assert parse_pattern(written) == pattern
    assert parse_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(("written", "text"), [(0.50, "0.5"), ("0.70", "0.7"), (0, "0"), ("-0", "0"), ("2:4", "2:4")])
def test_text(written: str | float, text: str) -> None:
    assert str(parse_pattern(written)) == text


def test_a_time_of_yaml_is_recognised() -> None:
    with refused("sparsity", 124, "YAML", "'2:4'"):
        parse_pattern(124)


@pytest.mark.parametrize("written", ["1", "1.5", "-0.1", "nan", "half", "", "4:2", "0:4", "4:4", "2:", "50%"])
def test_refuse(written: str) -> None:
    with pytest.raises(InputError, match=repr(written)):
        parse_pattern(written)
