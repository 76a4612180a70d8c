"""What is kept, and what goes."""

import os
from pathlib import Path

import pytest

from flows.command_line.main import main
from tasks.store.cleaning import StoredEntry, entries_to_remove, remove, stored_entries

NOW = 2_000_000_000.0


@pytest.fixture
def full_home(home: Path) -> Path:
    files = {
        "artifacts/search/old/recipe.yaml": (100, 30),
        "artifacts/prune/new/model/model.safetensors": (1000, 1),
        "artifacts/prune/.half.partial/model.safetensors": (1000, 1),
        "journals/one.jsonl": (50, 20),
        "models/converted/model.safetensors": (500, 10),
    }
    for name, (size, days) in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        entry = home / Path(*Path(name).parts[: 3 if name.startswith("artifacts") else 2])
        os.utime(entry, (NOW - days * 86400,) * 2)
    return home


def test_everything_whole_is_listed_oldest_first(full_home: Path) -> None:
    assert [(entry.kind, entry.size) for entry in stored_entries()] == [
        ("search", 100),
        ("journal", 50),
        ("model", 500),
        ("prune", 1000),
    ]


def test_nothing_is_kept_in_an_empty_home(home: Path) -> None:
    assert stored_entries() == []


@pytest.mark.parametrize(
    ("older_than", "keep", "gone"),
    [
        (None, None, []),
        (15, None, ["search", "journal"]),
        (None, 1500, ["search", "journal"]),
        (None, 1499, ["search", "journal", "model"]),
        (25, 1000, ["search", "journal", "model"]),
        (None, 0, ["search", "journal", "model", "prune"]),
    ],
)
def test_the_old_and_the_oldest_of_too_much_go(
    older_than: float | None, keep: int | None, gone: list[str], full_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.store.cleaning.time.time", lambda: NOW)
    seconds = None if older_than is None else older_than * 86400
    chosen = entries_to_remove(stored_entries(), seconds, keep)
    assert [entry.kind for entry in chosen] == gone
    left = [entry for entry in stored_entries() if entry not in chosen]
    remove(chosen)
    assert stored_entries() == left
    assert (full_home / "artifacts/prune/.half.partial/model.safetensors").exists()


def test_commands(full_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["cache", "list"])
    assert "4 kept, 1.61 KiB" in capsys.readouterr().out
    main(["cache", "prune", "--keep", "1kB", "--dry-run"])
    assert "3 would be removed, 650 B" in capsys.readouterr().out
    main(["cache", "prune", "--keep", "1kB"])
    assert "3 removed, 650 B" in capsys.readouterr().out
    assert [entry.kind for entry in stored_entries()] == ["prune"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [([], "--older-than AGE"), (["--older-than", "soon"], "'soon'"), (["--keep", "5X"], "'5X'")],
)
def test_bad_input_is_one_sentence(
    flags: list[str], words: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cache", "prune", *flags])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_age_is_since_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.store.cleaning.time.time", lambda: NOW)
    assert StoredEntry("search", Path("x"), 1, NOW - 5).age == 5
