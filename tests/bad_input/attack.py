"""How inputs are made up by Hypothesis: what is a refusal, and how many are tried.

``make attack`` tries 20 times as many, others at each run.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from hypothesis import HealthCheck, settings

from optishear.errors import InputError

Result = TypeVar("Result")
_TIMES = int(os.environ.get("OPTISHEAR_ATTACK", "0"))


def attack(examples: int) -> settings:
    """The settings of a test: so many inputs, the same at every run, or a multiple of other ones; a minute for each."""
    return settings(
        max_examples=examples * max(_TIMES, 1),
        derandomize=not _TIMES,
        deadline=timedelta(minutes=1),
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def result_of(read: Callable[[], Result]) -> Result | None:
    """What is read; ``None`` where it is refused in one line that can be printed. Any other exception goes on."""
    try:
        return read()
    except InputError as error:
        sentence = str(error)
        assert sentence.strip()
        assert sentence.isprintable(), repr(sentence)
        return None
