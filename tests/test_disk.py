"""A disk that is full, cannot be written or has gone is one sentence, and what was on it stays whole."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from optishear import disk
from optishear.disk import check_disk, disk_error, disk_full, disk_reason, free_disk, says_disk, write_error
from optishear.errors import InputError
from optishear.files import ensure_writable, removed_after_failure, write_aside
from optishear.searching.journal import Journal
from own_disk import fill, make_read_only, own_disk
from tasks.store.processes import OwnProcess, ProcessRecord, processes_folder
from wording import refused

MEASURED = {"kl": [0.5] * 100, "seconds": [1.0] * 100}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own."""
    with own_disk(tmp_path / "small", 4) as folder:
        yield folder


def test_the_wording_of_too_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=2**40, used=0, free=3 * 2**20))
    check_disk(tmp_path / "home" / "new", 3 * 2**20, "The stage prune")
    with pytest.raises(InputError) as caught:
        check_disk(tmp_path / "home" / "new", 2**30, "The stage prune")
    assert str(caught.value) == (
        f"The stage prune needs 1.00 GiB in '{tmp_path}/home/new', and 3.00 MiB of its disk are free; free some space, "
        "or name a folder on another disk. The same command then goes on where it was."
    )


def test_the_wording_of_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=2**40, used=0, free=3 * 2**20))
    with pytest.raises(InputError) as caught, removed_after_failure(tmp_path / "results", 2**30):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == (
        f"The disk of '{tmp_path}' is full (No space left on device, 1.00 GiB are needed, 3.00 MiB are free); free "
        "some space, or name a folder on another disk. The same command then goes on where it was."
    )


def test_a_file_system_that_does_not_say_what_is_free_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=0, used=0, free=0))
    assert free_disk(tmp_path) is None
    check_disk(tmp_path, 2**60, "The stage prune")


def test_what_is_free_is_what_the_disk_takes(small: Path) -> None:
    free = free_disk(small / "not" / "there")
    assert free == free_disk(small) is not None
    assert fill(small).stat().st_size == free


def test_a_full_disk_leaves_the_journal_whole_and_a_search_goes_on(small: Path) -> None:
    path = small / "journals" / "journal.jsonl"
    journal = Journal(path)
    journal.put("first", MEASURED)
    ballast = fill(small)
    whole = path.read_bytes()
    with refused(path.parent, "0 B"):  # the block that is begun may take some lines
        for number in range(100):
            whole = path.read_bytes()
            journal.put(str(number), MEASURED)
    assert path.read_bytes() == whole
    assert path.read_bytes().endswith(b"}\n")
    ballast.unlink()
    journal.put("last", MEASURED)
    assert Journal(path).get("last") == MEASURED


def test_a_full_disk_leaves_what_was_to_be_replaced(small: Path) -> None:
    final = small / "result.bin"
    final.write_bytes(b"earlier")
    with refused(small, "free"), write_aside(final) as aside:
        aside.write_bytes(bytes(2**23))
    assert final.read_bytes() == b"earlier"
    assert sorted(path.name for path in small.iterdir()) == ["result.bin"]
    with write_aside(final) as aside:
        aside.write_bytes(b"later")
    assert final.read_bytes() == b"later"


def test_a_full_disk_leaves_the_record_of_a_process_whole(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTISHEAR_HOME", str(small / "home"))
    record = ProcessRecord(token="t", pid=1, host="h", started=1.0, command="run", server="s")
    own = OwnProcess(record)
    own.add_experiment("sqlite:///mlflow.db", "1")
    fill(small)
    own.end(left=True)
    (kept,) = processes_folder().glob("*.json")
    assert ProcessRecord.model_validate_json(kept.read_bytes()) == record
    assert record.left


def test_a_full_disk_takes_no_record_of_a_process(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTISHEAR_HOME", str(small / "home"))
    processes_folder().mkdir(parents=True)
    fill(small)
    with refused(processes_folder()):
        OwnProcess(ProcessRecord(token="t", pid=1, host="h", started=1.0, command="run", server="s"))
    assert list(processes_folder().iterdir()) == []


def test_a_full_disk_is_known_by_a_database_that_says_so(small: Path) -> None:
    database = sqlite3.connect(small / "mlflow.db")
    database.execute("create table runs (name text)")
    fill(small)
    with refused(small, "free"):
        try:
            database.execute("insert into runs values (?)", ["x" * 100_000])
        except sqlite3.OperationalError as error:
            (small / "ballast").unlink()  # the error alone says it
            assert disk_error(RuntimeError("failed"), small) is None
            raise disk_error(error, small) or error from None


def test_a_full_disk_is_known_by_the_folder_where_a_server_says_nothing(small: Path) -> None:
    error = RuntimeError("500 Internal Server Error")
    assert disk_error(error) is None
    fill(small)
    with refused(small):
        raise disk_error(error, small) or error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_the_cause_of_an_error_says_that_its_folder_is_full(number: int, tmp_path: Path) -> None:
    wrapped = RuntimeError("failed")
    wrapped.__cause__ = OSError(number, os.strerror(number), str(tmp_path / "runs" / "log"))
    with refused(tmp_path / "runs", os.strerror(number)):
        raise disk_error(wrapped, tmp_path) or wrapped


@pytest.mark.parametrize("refused_write", ["full", "read-only", "gone"])
def test_what_a_database_says_of_its_disk_is_the_reason(refused_write: str, small: Path) -> None:
    path = small / "mlflow.db"
    database = sqlite3.connect(path)
    database.execute("create table runs (name text)")
    if refused_write == "full":
        fill(small)
    elif refused_write == "read-only":
        database.close()
        make_read_only(small)
        database = sqlite3.connect(path)
    else:
        path.unlink()
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute("insert into runs values (?)", ["x" * 100_000])
    wrapped = RuntimeError("(raised as a result of another error)")
    wrapped.__cause__ = caught.value
    assert disk_reason(wrapped) == str(caught.value)
    assert says_disk(f"the run was not stored: {caught.value}")


def test_other_failures_say_nothing_of_a_disk() -> None:
    for error in (
        KeyError("model"),
        InputError(os.strerror(errno.ENOSPC)),
        OSError(errno.ENOENT, "No such file"),
        None,
    ):
        assert disk_reason(error) is None
    assert not says_disk("the server did not answer")


def test_a_folder_that_is_removed_after_the_failure_is_not_named(tmp_path: Path) -> None:
    with write_aside(tmp_path / "result") as aside:
        aside.mkdir()
        error = OSError(errno.ENOSPC, "No space left on device")
        for folder in (aside, aside / "model"):
            with refused(repr(str(tmp_path))):
                raise disk_full(folder, error)
            with refused(repr(str(tmp_path))):
                raise write_error(folder, PermissionError(errno.EACCES, "Permission denied"))


def test_a_folder_that_cannot_be_written_is_named(small: Path) -> None:
    path = small / "journal.jsonl"
    journal = Journal(path)
    make_read_only(small)
    for attempt in (
        lambda: journal.put("first", MEASURED),
        lambda: ensure_writable(small / "new"),
        lambda: Journal(small / "new" / "journal.jsonl"),
    ):
        with refused(small, "Read-only file system"):
            attempt()
    with refused(small, "Read-only file system"):
        raise disk_error(RuntimeError("attempt to write a readonly database"), small) or RuntimeError


def test_a_folder_that_has_gone_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    journal = Journal(folder / "journals" / "journal.jsonl")
    journal.put("first", MEASURED)
    with refused(folder / "journals"):
        shutil.rmtree(folder)
        journal.put("second", MEASURED)
    with refused(folder), write_aside(folder / "result") as aside:
        shutil.rmtree(folder)
        aside.write_text("result")
    with refused(folder):
        raise disk_error(RuntimeError("unable to open database file"), folder) or RuntimeError
    assert not folder.exists()


def test_the_wording_of_a_folder_that_has_gone(tmp_path: Path) -> None:
    assert str(write_error(tmp_path / "home", FileNotFoundError(errno.ENOENT, "No such file or directory"))) == (
        f"The folder '{tmp_path}/home' has gone while it was in use; bring it back, or make an empty one. "
        "The same command then goes on where it was."
    )


def test_other_failures_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_error(KeyError("model"), tmp_path) is None
    assert disk_error(InputError(os.strerror(errno.ENOSPC)), tmp_path) is None

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(disk.tempfile, "TemporaryFile", refuse)
    assert disk_error(KeyError("model"), tmp_path) is None
