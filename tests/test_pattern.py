"""Sparsity as the user writes it."""

import pytest

from optishear.errors import InputError
from optishear.pattern import DENSE, Pattern, layer_pattern_text, parse_layer_pattern, parse_pattern
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


@pytest.mark.parametrize(("text", "pruned"), [("dense", 0), ("7:8", 2), ("6:8", 4), ("4:8", 8)])
def test_the_pattern_of_a_layer_by_its_text_and_by_its_pruned_weights(text: str, pruned: int) -> None:
    pattern = parse_layer_pattern(text, parse_pattern("4:8"))
    assert pattern == parse_pattern("4:8").pruning(pruned, 16)
    assert layer_pattern_text(pattern) == text
    assert (pattern == DENSE) == (text == "dense")
