"""Whether the process that had a number at some time still runs."""

from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

# Of ``/proc/NUMBER/stat`` behind the name of the program: the ticks of the processor from the start of the machine on.
_BIRTH = 19


def birth_of(number: int) -> str:
    """What tells a process of this machine from all others that had or will have its number: when it began.

    It is measured from the start of the machine on, so that setting the clock does not change it. Empty where there is
    no such process, or the system does not say when it began.

    Args:
        number: of the process.
    """
    with suppress(OSError, IndexError):  # only Linux has it
        behind_name = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2]
        return f"{_start_of_machine()} {behind_name.split()[_BIRTH]}"
    with suppress(psutil.Error):  # other systems note the time once, and setting the clock does not change it
        return repr(psutil.Process(number).create_time())
    return ""


def is_running(number: int, birth: str) -> bool:
    """Whether a process of this machine still runs.

    Another one that has got its number since is not it, and a zombie does nothing any more. One of another user may be
    it, where the system does not say when it began.

    Args:
        number: of the process.
        birth: of ``birth_of``; empty where that is not known, as in files of earlier releases.
    """
    try:
        if psutil.Process(number).status() == psutil.STATUS_ZOMBIE:
            return False
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        pass
    now = birth_of(number)
    return now == birth or not now or not birth


@cache
def _start_of_machine() -> str:
    """A random name that the system has had since it was started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
