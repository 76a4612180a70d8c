"""The operating system's lock on an open file; a process that dies loses it."""

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
