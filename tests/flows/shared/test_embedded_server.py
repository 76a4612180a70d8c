"""The embedded server lives no longer than the process that started it."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from prefect.server.api.server import SubprocessASGIServer

from flows.shared import embedded_server

_PROGRAM = """
import os, subprocess, sys, time
server = subprocess.Popen([sys.executable, "-P", {program!r}, str(os.getpid()), "{port}"], start_new_session=True)
print(server.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    """Whether a process runs that is no child of this one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as status:
        return status.read().rpartition(")")[2].split()[0] != "Z"


def test_prefect_starts_its_server_in_a_session_of_its_own() -> None:
    importlib.import_module("flows.shared.titled_flow")
    assert SubprocessASGIServer._run_uvicorn_command is embedded_server.start_server
    server = SubprocessASGIServer()
    server.port = server.find_available_port()
    with server._run_uvicorn_command() as process:
        try:
            assert os.getsid(process.pid) == process.pid != os.getsid(0)
        finally:
            process.kill()


def test_it_ends_by_itself_after_its_parent_was_killed() -> None:
    program = str(Path(embedded_server.__file__).with_name("server_process.py"))
    port = SubprocessASGIServer().find_available_port()
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(program=program, port=port)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert alive(server)
        parent.kill()
    try:
        deadline = time.monotonic() + 20
        while alive(server) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not alive(server)
    finally:
        if alive(server):
            os.kill(server, signal.SIGKILL)
