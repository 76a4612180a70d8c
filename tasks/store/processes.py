"""The processes that compute runs of their own with this home folder: one record for each, until its runs have ended.

A record, ``HOME/processes/TOKEN.json``, is locked by its process, and the operating system frees the lock of a process
that dies. Runs of Prefect and MLflow carry the token, so that a later process finds those that were left running.
"""

import os
import platform
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from pydantic import BaseModel, ValidationError

from optishear.disk import write_error
from optishear.errors import IncompleteError, InputError
from optishear.file_lock import try_lock
from optishear.files import ensure_writable
from optishear.home import home_folder
from optishear.running import birth_of, is_running

# Seconds in which a record is written.
_TO_BEGIN = 3600.0


class TrackedPlace(BaseModel):
    """An experiment in which a process has runs; the address is without its password."""

    uri: str
    experiment_id: str


class ProcessRecord(BaseModel):
    """A process that computes runs of its own.

    Attributes:
        token: on each of its runs.
        pid: its number.
        host: the machine.
        birth: tells it from others with its number; empty in records of release 0.4.
        command: the name of the command.
        server: of its runs in Prefect.
        experiments: of its runs in MLflow.
        left: whether its runs were left in the middle, although it may live on.
    """

    token: str
    pid: int
    host: str
    birth: str = ""
    command: str
    server: str
    experiments: list[TrackedPlace] = []
    left: bool = False

    @property
    def tag(self) -> str:
        """The tag of its runs in Prefect."""
        return f"process-{self.token}"

    @property
    def has_ended(self) -> bool:
        """Whether it is certain that nothing computes its runs any more: on another machine it is not."""
        if self.host != platform.node():
            return False
        return self.left or not is_running(self.pid, self.birth)


class OwnProcess:
    """The record of this process, and the lock on it."""

    def __init__(self, record: ProcessRecord) -> None:
        """Write the record.

        Raises:
            InputError: if it cannot be written.
        """
        self.record = record
        folder = ensure_writable(processes_folder())
        self._path = folder / f"{record.token}.json"
        hidden = folder / f".{record.token}.partial"
        self._file: int | None = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            try_lock(self._file)
            self._write()
            hidden.rename(self._path)  # locked and complete when others find it
        except OSError as error:
            os.close(self._file)
            with suppress(OSError):
                hidden.unlink(missing_ok=True)
            raise write_error(folder, error) from error

    def add_experiment(self, uri: str, experiment_id: str) -> None:
        """Note that this process has runs in an experiment; the address is one without a password."""
        place = TrackedPlace(uri=uri, experiment_id=experiment_id)
        if place not in self.record.experiments:
            self.record.experiments.append(place)
            self._write()

    def end(self, *, left: bool) -> None:
        """Remove the record, or keep it where runs may have been left in the middle."""
        if self._file is None:
            return
        if left:
            self.record.left = True
            with suppress(OSError):  # a disk that is full or has gone; the end of the process says as much
                self._write()
        else:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = None

    def _write(self) -> None:
        assert self._file is not None
        # In place and never shorter, so that it is whole on a full disk and after a kill; JSON may end in spaces.
        content = self.record.model_dump_json().encode()
        os.pwrite(self._file, content.ljust(os.fstat(self._file).st_size), 0)


_own: ContextVar[OwnProcess | None] = ContextVar("own", default=None)


def processes_folder() -> Path:
    """Where the records lie."""
    return home_folder() / "processes"


def own_process() -> OwnProcess | None:
    """The record of this process; ``None`` where its runs belong to a worker."""
    return _own.get()


@contextmanager
def recorded_process(command: str, server: str) -> Iterator[ProcessRecord]:
    """Record this process while the body runs flows.

    Where the body ends with bad input or without an error, its runs have ended, and the record goes. After any other
    error, or a signal, nobody knows, and the next process looks.

    Args:
        command: the name of the command.
        server: of its runs in Prefect.
    """
    own = OwnProcess(
        ProcessRecord(
            token=uuid.uuid4().hex[:12],
            pid=os.getpid(),
            host=platform.node(),
            birth=birth_of(os.getpid()),
            command=command,
            server=server,
        )
    )
    token = _own.set(own)
    left = True
    try:
        yield own.record
        left = False
    except (InputError, IncompleteError):
        left = False
        raise
    finally:
        _own.reset(token)
        own.end(left=left)


@contextmanager
def ended_process(path: Path) -> Iterator[ProcessRecord | None]:
    """Hold the record of a process that has ended while the body looks after its runs.

    It is ``None`` where the process lives, may live, or is looked after by another one. A record that is no record is
    never of a process that has ended.

    Args:
        path: of the record.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:  # removed meanwhile
        yield None
        return
    try:
        # Without locks the number of the process has to do.
        record = None if try_lock(file) is False else _read(file)
        yield record if record is not None and record.has_ended else None
    finally:
        os.close(file)


def other_records() -> list[Path]:
    """The records of other processes than this one, the oldest first."""
    own = _own.get()
    for unfinished in processes_folder().glob(".*.partial"):
        if time.time() - _modified(unfinished) > _TO_BEGIN and not _is_held(unfinished):  # killed before it had runs
            unfinished.unlink(missing_ok=True)
    paths = [path for path in processes_folder().glob("*.json") if own is None or path.stem != own.record.token]
    return sorted(paths, key=_modified)


def _is_held(path: Path) -> bool:
    """Whether a process is writing the record, however old it seems where the clock was set."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:  # removed meanwhile
        return False
    try:
        return try_lock(file) is False
    finally:
        os.close(file)


def _modified(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return time.time()


def _read(file: int) -> ProcessRecord | None:
    try:
        return ProcessRecord.model_validate_json(os.pread(file, 2**20, 0))
    except (OSError, ValidationError):
        return None
