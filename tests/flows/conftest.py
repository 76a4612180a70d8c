"""A text for the flows, and the log as it was."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiny import random_text


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
    path = tmp_path / "text.txt"
    path.write_text(random_text(paragraphs=60))
    return path
