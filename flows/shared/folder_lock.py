"""A folder belongs to one run at a time."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from optishear.disk import write_error
from optishear.errors import InputError
from optishear.file_lock import try_lock
from optishear.running import birth_of, is_running

LOCK = ".optishear.lock"


class Holder(BaseModel):
    """The run that a folder belongs to.

    Attributes:
        pid: its process.
        host: the machine.
        command: the command line.
        since: when it began, in UTC.
        birth: tells the process from others with its number; empty in files of earlier releases.
    """

    pid: int
    host: str
    command: str
    since: str
    birth: str = ""

    def __str__(self) -> str:
        return f"{self.command!r}, process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def locked(folder: Path, command: str) -> Iterator[None]:
    """Hold a folder while the body runs.

    The operating system frees the lock of a process that dies, whatever the file says. Where the file system has no
    locks, the file itself is the lock, and the one of a dead process on this machine counts as free.

    Args:
        folder: an existing one.
        command: the command line of this run, for others that want the folder.

    Raises:
        InputError: if another run holds the folder, naming that run, or its disk is full.
    """
    path = folder / LOCK
    since = datetime.now(UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00") + " UTC"
    holder = Holder(pid=os.getpid(), host=platform.node(), command=command, since=since, birth=birth_of(os.getpid()))
    file = _acquire(path, folder, holder)
    try:
        yield
    finally:
        # Removed while it is held: who opened it meanwhile finds that it is another file than the one of that name.
        with suppress(OSError):
            path.unlink()
        os.close(file)


def _acquire(path: Path, folder: Path, holder: Holder) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _is_free(file):
                raise InputError(_refusal(path, folder, file))
            if _is_file_of(file, path):
                _write(file, path, holder)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _write(file: int, path: Path, holder: Holder) -> None:
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(holder.model_dump(), ensure_ascii=False).encode(), 0)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise write_error(path.parent, error) from error


def _is_free(file: int) -> bool:
    """Whether this process holds the lock now."""
    held = try_lock(file)
    if held is not None:
        return held
    holder = _read(file)
    return holder is None or (holder.host == platform.node() and not is_running(holder.pid, holder.birth))


def _is_file_of(file: int, path: Path) -> bool:
    """Whether the open file still has that name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _read(file: int) -> Holder | None:
    try:
        return Holder.model_validate_json(os.pread(file, 2**20, 0))
    except (OSError, ValidationError):  # empty: the other process has not written it yet
        return None


def _refusal(path: Path, folder: Path, file: int) -> str:
    holder = _read(file)
    run = f"another run ({holder})" if holder is not None else "another run"
    fix = f"wait for it, or name another output folder; if it has died, remove {path.name!r} in that folder"
    return f"The output folder {str(folder)!r} is being written by {run}; {fix}."
