"""Inputs that are nearly right: a valid document or file, with a few changes."""

import copy
import datetime
import math
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

_NUMBERS = [
    *(0, 1, -1, 2, 7, 255, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400),
    *(0.0, -0.0, 0.5, -0.5, 1.0, 1.5, 1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf),
]
_TEXTS = [
    *(
        "",
        " ",
        "\t",
        "\n",
        "\0",
        "\x1b[31m",
        "\u202e",
        "\ufeff",
        "a\nb",
        "\ud800",
        "é",
        "字",
        "🙂",
        "x" * 300,
        "y/" * 3000,
    ),
    *("..", "../..", "/", "//", "~", "~nobody/x", ".", "-", "--help", "a b", "/dev/null", "/proc/self/mem", "/etc"),
    *("0", "-1", "1e3", "nan", "inf", "null", "true", "0.5", "2:4", "4:2", "0:0", "50%", "9" * 5000, "1h", "1y", "20G"),
    *("hub:", "hub:a/b/c/d", "hub:..", "package:", "package:no such", "package:../x", "a=", "=b", "a=b", "a=b=c"),
    *(
        "*",
        "[",
        "model.layers.*",
        "!",
        "<b>",
        "{{ 7 * 7 }}",
        "%s",
        "$HOME",
        "'",
        '"',
        "\\",
        "#",
        "sqlite:///x",
        "http://",
    ),
    *("Infinity", "1_000", "٣", "0x10", "all", "none", "auto", "cuda:999", "dense", "self", "file:///etc/passwd"),
]
_SCALARS: SearchStrategy[Any] = (
    st.sampled_from([*_NUMBERS, *_TEXTS, None, True, False]) | st.text(max_size=12) | st.integers() | st.floats()
)
# Also what YAML has, and JSON has not.
DATES: SearchStrategy[Any] = st.sampled_from(
    [datetime.date(2026, 2, 28), datetime.datetime(2026, 1, 2, 3, 4), b"\0\xff"]
)


def nested(scalars: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """The scalars, and lists and mappings of them."""
    keys = st.sampled_from([text for text in _TEXTS if len(text) < 100])
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=4
    )


ANYTHING = nested(_SCALARS)


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Each mapping or list in a document, with each of its keys or positions."""
    if isinstance(document, dict | list):
        for key in document if isinstance(document, dict) else range(len(document)):
            yield document, key
            yield from _places(document[key])


@st.composite
def changed(draw: DrawFn, document: Any, values: SearchStrategy[Any] = ANYTHING, most: int = 2) -> Any:
    """A document of mappings and lists with one to ``most`` values replaced, removed, added, doubled or exchanged."""
    if draw(st.integers(0, 19)) == 0:
        return draw(values)
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(document)) or [([None], 0)]
        holder, key = draw(st.sampled_from(places))
        number = isinstance(holder[key], int | float) and not isinstance(holder[key], bool)
        ways = ["replace"] * 4 + ["remove", "add", "exchange"] + ["scale"] * 2 * number
        how = draw(st.sampled_from(ways))
        if how == "replace":
            holder[key] = draw(values)
        elif how == "scale":
            holder[key] *= draw(st.sampled_from([-1, 0, 2, 1000, 10**12, 0.5]))
        elif how == "remove":
            del holder[key]
        elif how == "add" and isinstance(holder, dict):
            holder[draw(st.sampled_from(_TEXTS) | st.text(max_size=6))] = draw(values)
        elif how == "add":
            holder.insert(key, copy.deepcopy(holder[key]))
        elif how == "exchange":
            other, place = draw(st.sampled_from(places))
            holder[key] = copy.deepcopy(other[place])
    return document


@st.composite
def damaged(draw: DrawFn, content: bytes, most: int = 3, end: int | None = None) -> bytes:
    """Bytes of which some are cut off, changed, put in, taken out or repeated; within the first ``end`` of them."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        limit = min(len(data), end or len(data))
        at = draw(st.integers(0, limit))
        how = draw(st.sampled_from(["cut", "flip", "flip", "put", "take", "number", "repeat"]))
        if how == "cut":
            del data[at:]
        elif how == "flip" and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif how == "put":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif how == "take":
            del data[at : at + draw(st.integers(1, 16))]
        elif how == "number":
            number = draw(st.sampled_from([0, 1, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1]))
            data[at : at + 8] = number.to_bytes(8, "little")
        elif how == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)
