"""What is kept, and what goes."""

import os
from pathlib import Path

import pytest

from flows.command_line.main import main
from tasks.store.cleaning import Kept, kept, remove, superfluous

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
    assert [(each.kind, each.size) for each in kept()] == [
        ("search", 100),
        ("journal", 50),
        ("model", 500),
        ("prune", 1000),
    ]


def test_nothing_is_kept_in_an_empty_home(home: Path) -> None:
    assert kept() == []


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
    chosen = superfluous(kept(), seconds, keep)
    assert [each.kind for each in chosen] == gone
    left = [each for each in kept() if each not in chosen]
    remove(chosen)
    assert kept() == left
    assert (full_home / "artifacts/prune/.half.partial/model.safetensors").exists()


def test_commands(full_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["cache", "list"])
    assert "4 kept, 1.61 KiB" in capsys.readouterr().out
    main(["cache", "prune", "--keep", "1kB", "--dry-run"])
    assert "3 would be removed, 650 B" in capsys.readouterr().out
    main(["cache", "prune", "--keep", "1kB"])
    assert "3 removed, 650 B" in capsys.readouterr().out
    assert [each.kind for each in kept()] == ["prune"]


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
    assert Kept("search", Path("x"), 1, NOW - 5).age == 5
