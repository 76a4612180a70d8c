"""What a killed process leaves is removed by who writes the same next; what a living one writes is not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from optishear import leftovers
from optishear.files import write_aside, write_text
from optishear.leftovers import aside_path, is_alive, remove_leftovers


def of_process(number: int, final: Path, monkeypatch: pytest.MonkeyPatch, ending: str = "partial") -> Path:
    """A file that is named after another process."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: number)
        path = aside_path(final, ending)
    path.write_text("half")
    return path


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_next_writer_removes_what_a_killed_one_left(
    tmp_path: Path, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "state.safetensors"
    of_process(ended, final, monkeypatch)
    other = of_process(ended, tmp_path / "other", monkeypatch)
    (tmp_path / ".state.safetensors.0123abcd.partial").mkdir()  # of an earlier release
    write_text(final, "whole")
    assert {path.name for path in tmp_path.iterdir()} == {final.name, other.name}


def test_a_living_writer_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = tmp_path / "page.html"
    living = of_process(os.getppid(), final, monkeypatch)
    with write_aside(final) as aside:
        aside.write_text("first")
        write_text(final, "second")
    assert final.read_text() == "first"
    assert living.exists()
    remove_leftovers(final, alone=True)
    assert not living.exists()


def test_a_number_that_another_process_has_now_is_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = of_process(os.getppid(), tmp_path / "page.html", monkeypatch)
    assert is_alive(path)
    monkeypatch.setattr(leftovers, "birth_of", lambda _: "later")
    assert not is_alive(path)


@pytest.mark.parametrize("seconds", [-7200, 7200])
def test_a_writer_lives_on_where_the_clock_is_set(
    seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = of_process(os.getppid(), tmp_path / "page.html", monkeypatch)
    began = psutil.Process(os.getppid()).create_time()
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: began + seconds)
    assert is_alive(path)


def test_the_number_alone_counts_in_names_of_release_0_4(tmp_path: Path, ended: int) -> None:
    machine = leftovers._machine()
    assert is_alive(tmp_path / f".page.html.{machine}-{os.getppid()}-0123abcd.partial")
    assert not is_alive(tmp_path / f".page.html.{machine}-{ended}-0123abcd.partial")


def test_another_machine_has_time(tmp_path: Path, ended: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(leftovers, "_machine", lambda: "0123abcd")
        path = of_process(ended, tmp_path / "model", monkeypatch)
    assert is_alive(path)
    month_ago = time.time() - 31 * 86_400
    os.utime(path, (month_ago, month_ago))
    assert not is_alive(path)


def test_one_that_was_moved_away_and_not_replaced_comes_back(
    tmp_path: Path, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "model"
    of_process(ended, final, monkeypatch, "old")
    remove_leftovers(final)
    assert final.read_text() == "half"
    of_process(ended, final, monkeypatch, "old")
    remove_leftovers(final)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_long_name_fits_the_file_system(tmp_path: Path) -> None:
    final = tmp_path / ("n" * 240)
    write_text(final, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [final.name]
