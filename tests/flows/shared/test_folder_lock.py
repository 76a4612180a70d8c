"""Of two runs into one folder at once, the second is refused; a dead run holds nothing."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.shared import folder_lock
from flows.shared.folder_lock import LOCK, locked
from optishear import file_lock
from other_process import other_process
from own_disk import fill, own_disk
from wording import refused

HOLD = """
import sys
from pathlib import Path
from flows.shared.folder_lock import locked
with locked(Path(sys.argv[1]), "optishear run --model other"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process, which holds the folder."""
    with other_process(HOLD, str(tmp_path), says="held") as process:
        yield process


@pytest.mark.usefixtures("file_system")
def test_the_second_run_is_refused_and_names_the_first(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    with refused(str(tmp_path), other.pid, platform.node(), "optishear run --model other"), locked(tmp_path, "mine"):
        pytest.fail("entered")
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == other.pid


@pytest.mark.usefixtures("file_system")
def test_a_killed_run_holds_nothing(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    other.kill()
    other.wait()
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path, "mine"):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_a_full_disk_is_refused_and_nobody_holds_the_folder(tmp_path: Path) -> None:
    with own_disk(tmp_path / "full", 1) as folder:
        fill(folder)
        with refused(folder), locked(folder, "mine"):
            pytest.fail("entered")
        assert not (folder / LOCK).exists()


def test_without_locks_a_run_on_another_machine_is_taken_to_be_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "fcntl", None)
    with locked(tmp_path, "mine"):
        record = json.loads((tmp_path / LOCK).read_text())
    (tmp_path / LOCK).write_text(json.dumps({**record, "host": "elsewhere"}))
    with refused("elsewhere", LOCK), locked(tmp_path, "mine"):
        pytest.fail("entered")


def test_without_locks_a_number_that_another_process_has_now_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "fcntl", None)
    with locked(tmp_path, "mine"):
        record = json.loads((tmp_path / LOCK).read_text())
    (tmp_path / LOCK).write_text(json.dumps({**record, "birth": "of another one"}))
    with locked(tmp_path, "mine"):
        assert json.loads((tmp_path / LOCK).read_text())["birth"] == record["birth"]


def test_a_folder_is_free_again_after_a_run(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path, "mine"):
            pass
    assert not (tmp_path / LOCK).exists()


def test_a_file_that_was_removed_meanwhile_is_not_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run before ends between the opening of the file and its locking."""
    is_free = folder_lock._is_free
    (tmp_path / LOCK).touch()

    def ends(file: int) -> bool:
        monkeypatch.setattr(folder_lock, "_is_free", is_free)
        free = is_free(file)
        (tmp_path / LOCK).unlink()
        return free

    monkeypatch.setattr(folder_lock, "_is_free", ends)
    with locked(tmp_path, "mine"):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
