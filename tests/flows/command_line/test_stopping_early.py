"""A command that is stopped in its first seconds, while it imports and its server starts, ends in one line."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flows.command_line.stopping import SENTENCE
from tiny import make_tokenizer, random_text, tiny_model

# What is promised of the end of the process, and what its server has after it.
_SECONDS_TO_END = 5.0
_SECONDS_OF_SERVER = 20.0
_REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run of minutes on a tiny random model."""
    folder = tmp_path_factory.mktemp("stopped")
    tiny_model().save_pretrained(folder / "tiny")
    make_tokenizer().save_pretrained(folder / "tiny")
    (folder / "text.txt").write_text(random_text(paragraphs=60))
    text = str(folder / "text.txt")
    flags = {
        "model": str(folder / "tiny"), "sparsity": 0.5, "calibration": text, "evaluation-text": text, "device": "cpu",
        "placement": "in_process", "output": str(folder / "output"), "sequences": 4, "sequence-length": 32,
        "search-sequences": 2, "trials": 4000, "window-length": 64,
    }  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "flows.command_line", "run", "--masks-only", *words]


def wait_for_its_handler(process: "subprocess.Popen[str]") -> None:
    """Before that the interpreter itself starts, and is ended by the signal."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("the signals that a process handles are read from /proc, which only Linux has")
    bit = 1 << (signal.SIGTERM - 1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) & bit:
            return
        time.sleep(0.005)
    raise TimeoutError("the command does not handle SIGTERM")


@pytest.mark.parametrize(
    "seconds", [0.0, 0.3, *[pytest.param(moment, marks=pytest.mark.slow) for moment in (1.0, 2.0, 4.0)]]
)
@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)],
    ids=["interrupt of the group", "termination of the process"],
)
def test_it_ends_in_one_line_and_leaves_no_server(
    seconds: float, number: signal.Signals, send: Callable[[int, int], None], command: list[str], tmp_path: Path
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))},
        "OPTISHEAR_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(_REPOSITORY),
    }
    with subprocess.Popen(
        command, cwd=_REPOSITORY, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        wait_for_its_handler(process)
        time.sleep(seconds)
        assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        begin = time.monotonic()
        send(process.pid, number)
        said, _ = process.communicate(timeout=60)
        assert time.monotonic() - begin < _SECONDS_TO_END
    assert process.returncode == 128 + number
    assert SENTENCE in said
    assert "Traceback" not in said
    _, left = psutil.wait_procs(children, timeout=_SECONDS_OF_SERVER)
    assert not left
