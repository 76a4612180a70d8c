"""A process that is asked to end does so in one line, whatever it is doing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.command_line import stopping
from flows.command_line.stopping import SENTENCE

_BUSY = """
import sys, time
sys.path.append({folder!r})  # without what else the command line imports
from stopping import stops_at_once
with stops_at_once():
    try:
        {body}
    finally:
        {ending}
"""
_FOLDER = str(Path(stopping.__file__).parent)
_WAITS = "print('ready', flush=True); time.sleep(60)"


def stopped(body: str, send: Callable[[int], None], ending: str = "pass") -> tuple[int, str, float]:
    """The exit code, the error output, and the seconds that it took to end."""
    program = _BUSY.format(folder=_FOLDER, body=body, ending=ending)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        begin = time.monotonic()
        send(process.pid)
        _, error = process.communicate(timeout=30)
        return process.returncode, error, time.monotonic() - begin


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("to", [os.kill, os.killpg], ids=["process", "group"])
def test_a_signal_is_one_line_and_its_exit_code(
    number: signal.Signals, code: int, to: Callable[[int, int], None]
) -> None:
    assert stopped(_WAITS, lambda pid: to(pid, number))[:2] == (code, f"{SENTENCE}\n")


def test_an_error_that_the_signal_causes_is_not_shown() -> None:
    ending = "raise ConnectionError('the server is gone')"
    assert stopped(_WAITS, lambda pid: os.kill(pid, signal.SIGTERM), ending)[:2] == (143, f"{SENTENCE}\n")


def test_the_exit_code_is_that_of_an_interrupt_within_code_from_a_string(tmp_path: Path) -> None:
    # Python looks at what came in such code at the end of a module that it was given by name.
    program = _BUSY.format(folder=_FOLDER, body=f"exec({_WAITS!r})", ending="pass")
    (tmp_path / "busy.py").write_text(program)
    with subprocess.Popen([sys.executable, "-m", "busy"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_one_within_another_is_the_outer_one() -> None:
    body = f"stops_at_once().__enter__(); {_WAITS}"
    assert stopped(body, lambda pid: os.kill(pid, signal.SIGTERM))[:2] == (143, f"{SENTENCE}\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_does_not_end_is_ended(number: signal.Signals) -> None:
    code, error, seconds = stopped(_WAITS, lambda pid: os.kill(pid, number), ending="time.sleep(60)")
    assert (code, error) == (128 + number, f"{SENTENCE}\n")
    assert seconds < 8


def test_a_second_interrupt_ends_it_at_once() -> None:
    def twice(pid: int) -> None:
        os.kill(pid, signal.SIGINT)
        time.sleep(0.8)
        os.kill(pid, signal.SIGINT)

    # The ending ignores the exception that the second one raises.
    ending = "import signal; signal.signal(signal.SIGINT, lambda *_: None); time.sleep(60)"
    code, error, seconds = stopped(_WAITS, twice, ending)
    assert (code, error) == (130, f"{SENTENCE}\n")
    assert seconds < 3


def test_other_errors_stay_as_they_are() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _BUSY.format(folder=_FOLDER, body="raise ValueError('a fault')", ending="pass")],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        error = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert error.rstrip().endswith("ValueError: a fault")
