"""The operating system's lock on an open file; a process that dies loses it."""

from contextlib import suppress

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


def try_lock(file: int) -> bool | None:
    """Take the lock on an open file without waiting.

    Args:
        file: its descriptor; the lock is held until it is closed.

    Returns:
        Whether this process holds the lock now; ``None`` where the system or the file system has no locks.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
        else:
            return True
    return None


def wait_for_lock(file: int) -> None:
    """Take the lock on an open file once no other process holds it; nothing where there are no locks.

    Args:
        file: its descriptor; the lock is held until it is closed.
    """
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
