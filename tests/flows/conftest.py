"""A text for the flows, and the log as it was."""

import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

WORDS = "the rest of this heat is on that other hand and it has no end in these rooms".split()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """The command line turns the project's log to standard error; other tests read it elsewhere."""
    logger = logging.getLogger("optishear")
    handlers, propagate = logger.handlers[:], logger.propagate
    yield
    logger.handlers, logger.propagate = handlers, propagate


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """Some thousand words, the same at every run."""
    words = random.Random(0)
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(" ".join(words.choices(WORDS, k=60)) + "." for _ in range(60)))
    return path
