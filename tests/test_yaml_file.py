"""YAML is plain data, or one error."""

import sys
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from optishear.yaml_file import UnreadableYamlError, parse_yaml

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(codec="ascii"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz", min_size=1), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "text",
    [
        "1: a",
        "null: a",
        "[a, b]: c",
        "2026-01-02: a",
        "date: 2026-02-30",
        "[" * 5000,
        "a: &a [*a]",
        "number: 1" + "0" * (sys.get_int_max_str_digits() + 1),
        "a: !!python/object/apply:os.system [ls]",
        "a: 'open",
        "\0",
    ],
)
def test_what_is_no_plain_data_is_refused(text: str) -> None:
    with pytest.raises(UnreadableYamlError) as caught:
        parse_yaml(text)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_short_file_that_stands_for_billions_of_values_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(UnreadableYamlError):
        parse_yaml("\n".join(lines))


@given(_PLAIN)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_plain_data_is_read_as_written(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump(value)) == value


@given(st.text(max_size=60) | st.binary(max_size=60))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_text_is_a_value_or_one_error(text: str | bytes) -> None:
    with suppress(UnreadableYamlError):
        parse_yaml(text)
