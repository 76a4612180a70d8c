"""Disks that are full, cannot be written or have gone: what is free, and one sentence for each."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from optishear.errors import InputError, causes, first_line
from optishear.leftovers import lasting_folder
from optishear.units import format_bytes

# A file that is larger than the process may write is no other case: both end with more room.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of disks and folders that cannot be written, have gone, or are broken.
_UNUSABLE = (
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ESTALE,
    errno.EIO,
    errno.ENOTCONN,
)
# Of libraries that say it by the message alone: safetensors in the system's words, SQLite in its own.
_FULL_WORDS = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "database or disk is full")
# What only disks and their folders say.
_BROKEN = (errno.EROFS, errno.ESTALE, errno.EIO)
_BROKEN_WORDS = (
    os.strerror(errno.EROFS),
    "attempt to write a readonly database",
    "unable to open database file",
    "disk I/O error",
)
# What a folder has to take to count as one that can be written: some pages of a database.
_PROBE = 2**20
_GOES_ON = "The same command then goes on where it was."


def free_disk(folder: Path) -> int | None:
    """Bytes that this user may still write to the disk of a folder, which need not exist yet.

    ``None`` where the file system does not say; quotas are not in it.
    """
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    if existing is None:
        return None
    try:
        usage = shutil.disk_usage(existing)
    except OSError:
        return None
    return usage.free if usage.total else None


def identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another one of its name; ``None`` where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_disk(folder: Path, needed: int, what: str) -> None:
    """Refuse work whose files do not fit on the disk of a folder.

    Args:
        folder: where they are written.
        needed: bytes.
        what: writes them, for the message.

    Raises:
        InputError: with the folder, what is needed and what is free.
    """
    free = free_disk(folder)
    if free is not None and needed > free:
        raise InputError(
            f"{what} needs {format_bytes(needed)} in {str(folder)!r}, and {format_bytes(free)} of its disk are free; "
            f"free some space, or name a folder on another disk. {_GOES_ON}"
        )


def check_takes_files(folder: Path) -> None:
    """Refuse a folder that does not take a file of 1 MiB now, for which a quota and its rights are looked at, too.

    Raises:
        InputError: with the folder and the reason, and what is free where it is full.
    """
    problem = _problem(folder)
    if problem is not None:
        raise write_error(folder, problem)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk is full, a quota used up or a file too large."""
    if isinstance(error, InputError):
        return False
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(words in str(error) for words in _FULL_WORDS)


def disk_reason(error: BaseException | None) -> str | None:
    """What an error, or what caused it, says of a disk that is full, cannot be written or is broken; else ``None``."""
    said = [cause for cause in causes(error) if is_disk_full(cause) or _is_broken(cause)]
    return _reason(said[-1]) if said else None


def says_disk(message: str) -> bool:
    """Whether a message has the words of a disk that is full, cannot be written or is broken."""
    return any(words in message for words in (*_FULL_WORDS, *_BROKEN_WORDS))


def disk_full(folder: Path, error: BaseException, needed: int | None = None) -> InputError:
    """The error for a disk that is full.

    Args:
        folder: what could not be written, or where.
        error: what said so.
        needed: bytes that were to be written there, where that is known.
    """
    free, folder = free_disk(folder), lasting_folder(folder)
    sizes = [f"{format_bytes(needed)} are needed"] if needed is not None else []
    sizes += [f"{format_bytes(free)} are free"] if free is not None else []
    said = _reason(error)
    return InputError(
        f"The disk of {str(folder)!r} is full ({', '.join([said, *sizes])}); free some space, or name a folder on "
        f"another disk. {_GOES_ON}"
    )


def write_error(folder: Path, error: BaseException) -> InputError:
    """The error for a file that could not be written in a folder: it is full, has gone, or refuses.

    Args:
        folder: where it was to be.
        error: what said so.
    """
    if is_disk_full(error):
        return disk_full(folder, error)
    folder = lasting_folder(folder)
    if not folder.exists():
        return folder_gone(folder)
    return not_writable(folder, error)


def not_writable(folder: Path, error: BaseException) -> InputError:
    """The error for a folder, which need not be there yet, in which nothing can be written.

    Args:
        folder: where something was to be written.
        error: what said so.
    """
    if is_disk_full(error):
        return disk_full(folder, error)
    named = str(lasting_folder(folder))
    return InputError(f"The folder {named!r} cannot be written ({_reason(error)}); name one that you may write to.")


def folder_gone(folder: Path) -> InputError:
    """The error for a folder that was there when the work began."""
    return InputError(
        f"The folder {str(folder)!r} has gone while it was in use; bring it back, or make an empty one. {_GOES_ON}"
    )


def disk_error(error: BaseException, *folders: Path) -> InputError | None:
    """One sentence for a failure behind which is a disk; else ``None``.

    It is known by the error, by what caused it, or by the folders: a server that fails, and a database, say little of
    their disks.

    Args:
        error: the failure.
        folders: what the failed work writes to.
    """
    full = next((cause for cause in causes(error) if is_disk_full(cause)), None)
    for folder in folders:
        problem = _problem(folder)
        if problem is not None:
            return write_error(folder, problem)
    if full is None:
        return None
    named = getattr(full, "filename", None)
    if isinstance(named, str | os.PathLike):
        return disk_full(Path(named).parent, full)
    return disk_full(folders[0] if folders else Path(tempfile.gettempdir()), full)


def _is_broken(error: BaseException) -> bool:
    if isinstance(error, InputError):
        return False
    return (isinstance(error, OSError) and error.errno in _BROKEN) or any(
        words in str(error) for words in _BROKEN_WORDS
    )


def _problem(folder: Path) -> OSError | None:
    """Why a folder cannot take a file of some size now; ``None`` if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
            file.flush()
    except OSError as error:
        return error if error.errno in (*_FULL, *_UNUSABLE) else None
    return None


def _reason(error: BaseException) -> str:
    return first_line(error)[:200]
