"""A sentence stays one line, whatever is in the names that it quotes."""

import pickle

import pytest

from optishear.errors import InputError, first_line


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("The layer 'é字' is missing.", "The layer 'é字' is missing."),
        ("a\nb", r"a\nb"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_a_terminal_would_follow_is_escaped(text: str, printed: str) -> None:
    assert str(InputError(text)) == printed


def test_it_survives_the_way_from_another_process() -> None:
    assert str(pickle.loads(pickle.dumps(InputError("a\nb")))) == r"a\nb"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n  first.\nsecond"), "first"),
        (ValueError(), "ValueError"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("x" * 1000), "x" * 300 + "..."),
    ],
    ids=["lines", "empty", "system", "long"],
)
def test_a_reason_is_the_first_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
