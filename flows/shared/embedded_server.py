"""Start Prefect's embedded server out of reach of a terminal's signals, and bound to the life of this process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.settings import get_current_settings

if TYPE_CHECKING:
    from prefect.server.api.server import SubprocessASGIServer

_PROGRAM = Path(__file__).with_name("server_process.py")
# As Prefect starts it: no web pages, and no further server of its own.
_ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


def use_own_server() -> None:
    """Let Prefect start its embedded server by ``start_server``.

    Prefect starts it in the process group of the run. Ctrl-C then ends the server before the run, which asks it for
    minutes to store its last state; after SIGKILL the server stays for ever.

    A process that a worker started has the worker's server. It does without the code of one, which takes seconds to
    import.
    """
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        return
    from prefect.server.api.server import SubprocessASGIServer

    SubprocessASGIServer._run_uvicorn_command = start_server  # type: ignore[method-assign,assignment]


def start_server(server: "SubprocessASGIServer") -> "subprocess.Popen[Any]":
    """Start the server's process in a session of its own."""
    return subprocess.Popen(
        # Neither the working folder nor the program's own is a place to import from.
        [sys.executable, "-P", str(_PROGRAM), str(os.getpid()), str(server.port)],
        env={
            **os.environ,
            **_ENVIRONMENT,
            **get_current_settings().to_environment_variables(exclude_unset=True),
        },
        start_new_session=True,
    )
