"""A text for the flows, the command line over some settings, and the log as it was."""

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.command_line.main import main
from tiny import random_text


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """The command line turns the project's log to standard error; other tests read it elsewhere."""
    logger = logging.getLogger("optishear")
    handlers, propagate = logger.handlers[:], logger.propagate
    yield
    logger.handlers, logger.propagate = handlers, propagate


@pytest.fixture(autouse=True)
def tracking_database(home: Path, new_mlflow_database: Path) -> Path:
    """The home folder's MLflow database, which the first run would make in seconds."""
    home.mkdir()
    return Path(shutil.copyfile(new_mlflow_database, home / "mlflow.db"))


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """Some thousand words, the same at every run."""
    path = tmp_path / "text.txt"
    path.write_text(random_text(paragraphs=60))
    return path


@pytest.fixture
def command(settings: dict[str, Any], tmp_path: Path) -> Callable[..., None]:
    """Runs a command with those of the settings that it knows, from a YAML file, and with more flags."""

    def run(name: str, *flags: str, **changes: Any) -> None:
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump({**settings, **changes}))
        main([name, "--config", str(config), *flags])

    return run
