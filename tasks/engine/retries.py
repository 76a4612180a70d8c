"""Failures that a retry can fix."""

import re
from http import HTTPStatus
from typing import Any

from optishear.disk import disk_error, disk_reason
from optishear.errors import HubError, InputError, causes, first_line
from optishear.home import home_folder

RETRIES = 2
SECONDS_BEFORE_RETRY = [10.0, 60.0]
_GOES_ON = "the same command goes on where it was."


def is_transient(error: BaseException | None) -> bool:
    """Whether a failure may pass by itself: a server, or the hub, that does not answer or has a fault of its own.

    A GPU that is short of memory is not: a smaller batch has been tried before (``BatchSize``), and all else needs as
    much the next time, after hours of work perhaps.
    """
    for cause in causes(error):
        if isinstance(cause, InputError):
            return False
        names = {base.__name__ for base in type(cause).__mro__}
        if isinstance(cause, ConnectionError | TimeoutError) or names & {
            "TransportError",  # httpx, which the hub's client speaks through
            "ConnectionError",  # requests
            "Timeout",
        }:
            return True
        if _fault_of(cause) is not None:
            return True
    return False


def unanswered(error: BaseException) -> str | None:
    """One sentence for a failure that may pass by itself, with the server that did not answer; else ``None``."""
    if not is_transient(error):
        return None
    hub = next((cause for cause in causes(error) if isinstance(cause, HubError)), None)
    if hub is not None:
        return f"{hub}. Once it does, {_GOES_ON}"
    *_, first = causes(error)
    servers = [server for cause in causes(error) if (server := _server_of(cause))]
    faults = [fault for cause in causes(error) if (fault := _fault_of(cause))]
    return (
        f"The server{' ' if servers else ''}{servers[-1] if servers else ''} did not answer "
        f"({faults[-1] if faults else first_line(first)}). Once it does, {_GOES_ON}"
    )


def _fault_of(error: BaseException) -> str | None:
    """Status of an answer by which a server says that it has failed itself, such as ``500 Internal Server Error``.

    A server of Prefect's whose database is away answers so.
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    if not isinstance(status, int) or status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    return f"{status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else str(status)


def _server_of(error: BaseException) -> str:
    """Host and port that an error of httpx, or of urllib3 in MLflow's words, names; empty where there are none."""
    try:
        url = error.request.url  # type: ignore[attr-defined]
        return f"{url.host}:{url.port}"
    except (AttributeError, RuntimeError):  # httpx raises the latter where it does not know
        found = re.search(r"host='([^']+)', port=(\d+)", str(error))
        return f"{found[1]}:{found[2]}" if found else ""


def retry_unless_disk(_task: Any, _task_run: Any, state: Any) -> bool:
    """Prefect's hook: retry all but what a full, broken or missing disk has failed."""
    result = state.result(raise_on_failure=False)
    if not isinstance(result, BaseException):
        return True
    return disk_reason(result) is None and disk_error(result, home_folder()) is None


def retry_condition(_task: Any, _task_run: Any, state: Any) -> bool:
    """Prefect's hook: retry what is transient, never bad input."""
    result = state.result(raise_on_failure=False)
    return isinstance(result, BaseException) and is_transient(result)
