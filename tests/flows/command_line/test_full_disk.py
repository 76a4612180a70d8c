"""A disk that gets full in the middle of a run: the sentence ends it, without tracebacks of the libraries."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from optishear.searching.journal import Journal
from own_disk import fill, own_disk

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder on a file system of its own."""
    with own_disk(tmp_path / "disk", 64) as disk:
        monkeypatch.setenv("OPTISHEAR_HOME", str(disk / "home"))
        yield disk / "home"


@pytest.fixture
def settings(home: Path, model_folder: Path, text_file: Path, tmp_path: Path) -> dict[str, Any]:
    """Parameters of a search that takes seconds."""
    return {
        "model": str(model_folder),
        "sparsity": "0.5",
        "calibration": str(text_file),
        "sequences": 4,
        "sequence_length": 32,
        "search_sequences": 2,
        "rounds": 2,
        "trials": 24,
        "population": 4,
        "device": "cpu",
        "output": str(tmp_path / "output"),
    }


def test_a_search_ends_in_a_sentence_without_tracebacks(
    command: Callable[..., None], home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put, lines = Journal.put, []

    def fill_after_some(journal: Journal, key: str, measurement: Any) -> None:
        lines.append(key)
        if len(lines) == 5:
            fill(home.parent)
        put(journal, key, {**measurement, "kl": [0.5] * 1000})  # more than is left of a block

    monkeypatch.setattr(Journal, "put", fill_after_some)
    with pytest.raises(SystemExit) as ended:
        command("search")
    assert ended.value.code == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    said = error.partition("search: started")[2].splitlines()[1:]
    # Beside the progress: what MLflow does not have, then the sentence.
    *others, sentence = [line for line in said if "trial/s" not in line and line.strip()]
    assert sentence.startswith("Error: ")
    assert str(home / "journals") in sentence
    assert len(others) == 2
    assert all("MLflow" in line for line in others)
