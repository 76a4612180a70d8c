"""Whether the process that had a number at some time still runs."""

import psutil


def is_running(number: int, at: float, clock: float) -> bool:
    """Whether a process of this machine that had this number at a time still runs.

    One that began later has only got the number since, and a zombie does nothing any more. One of another user may be
    it, where the system does not say when it began.

    Args:
        number: of the process.
        at: seconds since the epoch at which it ran; infinity where that is not known.
        clock: seconds by which clocks differ, or were set since.
    """
    try:
        process = psutil.Process(number)
        return process.create_time() <= at + clock and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
