"""How tests look at a sentence: for what it names, not for its words.

Only tests with ``wording`` in their name quote sentences. ``tools/sentences.py`` lists quotes in other tests.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from optishear.errors import InputError


@contextmanager
def refused(*named: object) -> Iterator[None]:
    """The body has to raise an ``InputError`` of one line with each of these in it, as a whole word.

    Args:
        named: the bad value, the name of the parameter, and values of the fix.
    """
    with pytest.raises(InputError) as caught:
        yield
    sentence = str(caught.value)
    assert "\n" not in sentence
    missing = [str(part) for part in named if not re.search(rf"(?<!\w){re.escape(str(part))}(?!\w)", sentence)]
    assert not missing, f"{sentence!r} does not name {missing}"


def numbers_in(text: str) -> list[float]:
    """The numbers of a text in order, without those inside words."""
    return [float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])", text)]
