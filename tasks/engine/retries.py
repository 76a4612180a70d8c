"""Failures that a retry can fix."""

from typing import Any

from optishear.errors import InputError

RETRIES = 2
SECONDS_BEFORE_RETRY = [10.0, 60.0]


def is_transient(error: BaseException | None) -> bool:
    """Whether a failure may pass by itself: a network or hub time-out.

    A GPU that is short of memory is not: a smaller batch has been tried before (``BatchSize``), and all else needs as
    much the next time, after hours of work perhaps.
    """
    while error is not None:
        if isinstance(error, InputError):
            return False
        names = {base.__name__ for base in type(error).__mro__}
        if isinstance(error, ConnectionError | TimeoutError) or names & {
            "TransportError",  # httpx, which the hub's client speaks through
            "ConnectionError",  # requests
            "Timeout",
        }:
            return True
        error = error.__cause__ or error.__context__
    return False


def retry_condition(_task: Any, _task_run: Any, state: Any) -> bool:
    """Prefect's hook: retry what is transient, never bad input."""
    result = state.result(raise_on_failure=False)
    return isinstance(result, BaseException) and is_transient(result)
