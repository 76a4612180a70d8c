"""The number of a process is not the process: another one may have it now."""

import math
import os
import subprocess
import sys
import time

import psutil
import pytest

from optishear.running import is_running


def test_a_process_runs_until_it_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    now = time.time() + 60
    assert is_running(child.pid, now, 0)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:  # until its parent asks
        time.sleep(0.01)
    assert not is_running(child.pid, now, 0)
    child.wait()
    assert not is_running(child.pid, now, 0)


def test_one_that_began_later_has_only_the_number() -> None:
    began = psutil.Process().create_time()
    assert is_running(os.getpid(), began, 0)
    assert is_running(os.getpid(), math.inf, 0)
    assert is_running(os.getpid(), began - 10, 30)
    assert not is_running(os.getpid(), began - 60, 30)


def test_one_that_the_system_does_not_show_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: psutil.Process) -> float:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "create_time", refuse)
    assert is_running(os.getpid(), time.time(), 0)
