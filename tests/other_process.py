"""Another process, which runs a program of a test until it is killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def other_process(program: str, *arguments: str, says: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a program, and wait for the line that it prints when it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{says}\n"
        yield process
        process.kill()
