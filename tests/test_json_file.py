"""JSON that every reader understands."""

import json
from pathlib import Path

import pytest

from optishear.json_file import parse_json, write_json


def test_numbers_that_are_not_finite_become_text(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", {"a": [1.5, float("nan")], "b": {"c": float("inf")}, "d": None})
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text, parse_constant=lambda name: 1 / 0) == {"a": [1.5, "nan"], "b": {"c": "inf"}, "d": None}


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" * 5000, b"\xff", "{", ""], ids=["deep", "long", "bytes", "open", "empty"]
)
def test_what_cannot_be_read_is_one_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
