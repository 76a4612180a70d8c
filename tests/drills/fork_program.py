"""Commands in processes of their own that need not import everything again: each is forked from one that has.

A drill starts dozens of them, and on a busy machine the imports take longer than a tiny run. The program reads one
request a line on standard input and answers each with a line: ``start`` with the number of the new process, ``poll``
with its exit code, or ``null`` while it runs.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module

# Imported before the first fork, and the rest of what a run imports with them.
_MODULES = ("flows.pipeline", "flows.sweep", "flows.shared.own_runs", "mlflow.tracking", "matplotlib.pyplot")


def start(arguments: Sequence[str], environment: Mapping[str, str], log: str) -> int:
    """Begin a command, with what it prints in ``log``; the number of its process, which leads a group of its own."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        os.setsid()
        os.environ.clear()
        os.environ.update(environment)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(output, stream)
        code = _run(arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(arguments: Sequence[str]) -> int:
    from prefect.settings import temporary_settings

    from flows.command_line.main import main
    from flows.shared.defaults import set_defaults

    set_defaults()
    # Prefect has read its settings when it was imported.
    with temporary_settings({"results.local_storage_path": os.environ["PREFECT_RESULTS_LOCAL_STORAGE_PATH"]}):
        main(list(arguments))
    return 0


def poll(number: int) -> int | None:
    """The exit code of a process, negative after a signal; ``None`` while it runs."""
    ended, status = os.waitpid(number, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def serve() -> None:
    """Answer requests until there are no more."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name in _MODULES:
        import_module(name)
    for line in requests:
        name, *values = json.loads(line)
        print(json.dumps({"start": start, "poll": poll}[name](*values)), file=answers, flush=True)


if __name__ == "__main__":
    serve()
