"""The number of a process is not the process: another one may have it now."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from optishear import running
from optishear.running import birth_of, is_running


def test_a_process_runs_until_it_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    birth = birth_of(child.pid)
    assert birth
    assert is_running(child.pid, birth)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:  # until its parent asks
        time.sleep(0.01)
    assert not is_running(child.pid, birth)
    child.wait()
    assert not is_running(child.pid, birth)
    assert birth_of(child.pid) == ""


def test_another_one_has_only_the_number() -> None:
    assert birth_of(os.getpid()) != birth_of(1)
    assert is_running(os.getpid(), birth_of(os.getpid()))
    assert not is_running(os.getpid(), birth_of(1))
    assert is_running(os.getpid(), "")


@pytest.mark.parametrize("seconds", [-7200, 7200])
def test_a_clock_that_is_set_changes_nothing(seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system reckons when a process began, and when it was started itself, back from the clock."""
    birth = birth_of(os.getpid())
    for name in ("time", "boot_time"):
        module = time if name == "time" else psutil
        now = getattr(module, name)
        monkeypatch.setattr(module, name, lambda now=now: now() + seconds)
    began = psutil.Process().create_time()
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: began + seconds)
    assert birth_of(os.getpid()) == birth
    assert is_running(os.getpid(), birth)


def test_a_system_that_notes_the_time_of_the_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    running._start_of_machine.cache_clear()
    assert birth_of(os.getpid()) == repr(psutil.Process().create_time())
    assert is_running(os.getpid(), birth_of(os.getpid()))
    assert not is_running(os.getpid(), birth_of(1))


def test_one_that_the_system_does_not_show_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: psutil.Process) -> str:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "status", refuse)
    monkeypatch.setattr(running, "birth_of", lambda _: "")
    assert is_running(os.getpid(), "1 2")
