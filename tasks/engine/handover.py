"""Time for the process of a stage to claim the next stage of its pipeline before a worker does.

A worker polls at any moment, lists runs some seconds before their time, and starts a process, whose imports take half a
minute of one core. So a stage that follows another one in the same pool is scheduled for a little later; the process of
the stage before (``tasks.engine.stage_process``) claims it at once.
"""

import os
import time
from datetime import UTC, datetime, timedelta

from prefect.runtime import flow_run as parent

from optishear.errors import InputError

# A worker lists a run ten seconds before its time, by default. So the process has two seconds, and a worker loses two.
HANDOVER = timedelta(seconds=12)
# How long a process waits for another stage, by default.
SECONDS_TO_WAIT = 20.0
# The variable for another time; of all workers, since the parent's schedules what the others' wait for.
WAIT = "OPTISHEAR_STAGE_WAIT"
# When a stage of each parent run completed last in each pool, by the clock of ``time.monotonic``.
_completed: dict[tuple[str | None, str], float] = {}


def seconds_to_wait() -> float:
    """How long a process of a stage waits for another stage; 0 for no other one.

    Raises:
        InputError: if ``OPTISHEAR_STAGE_WAIT`` is no number.
    """
    given = os.environ.get(WAIT, "")
    try:
        return float(given) if given else SECONDS_TO_WAIT
    except ValueError:
        raise InputError(f"{WAIT} is {given!r}; give seconds, such as 20, or 0 to wait for no other stage.") from None


def completed_in(pool: str) -> None:
    """Note that a stage of the current run has completed in a pool."""
    _completed[parent.id, pool] = time.monotonic()


def time_of_next(pool: str) -> datetime | None:
    """When to schedule the next stage of the current run in a pool; ``None`` is now, where no process waits for it."""
    completed = _completed.get((parent.id, pool))
    if completed is None or time.monotonic() - completed >= seconds_to_wait():
        return None
    return datetime.now(UTC) + HANDOVER
