"""Two folders change places in one step, where the system can do that."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

# From Linux' headers.
_HERE, _EXCHANGE = -100, 2


def exchange(first: Path, second: Path) -> bool:
    """Give two files or folders of one file system the name of each other, in one step.

    Returns:
        Whether that was done. Only Linux can, on most of its file systems.
    """
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return rename is not None and rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0


def is_exchangeable(folder: Path) -> bool:
    """Whether another folder may take the place of this one without a loss for anyone.

    It cannot take that of a mount point. Who works in the folder, a shell for one, would stay in the former one; and
    that of another owner would become one of this user.

    Args:
        folder: an existing one, with symbolic links followed.
    """
    parent = folder.parent
    if sys.platform != "linux" or os.path.ismount(folder) or not os.access(parent, os.W_OK | os.X_OK):
        return False
    return folder.stat().st_uid == os.geteuid() and not any(path.is_relative_to(folder) for path in _working_folders())


def _working_folders() -> list[Path]:
    """The working folders of all processes of this user."""
    folders = []
    for process in os.listdir("/proc"):
        if process.isdigit():
            with suppress(OSError):  # ended, or of another user
                folders.append(Path(os.readlink(f"/proc/{process}/cwd")))
    return folders
