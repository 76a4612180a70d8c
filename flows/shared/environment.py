"""The home folder and the console of a command: what libraries log, quiet and beside the progress bars."""

import logging
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from optishear.disk import disk_error, disk_reason, identity, says_disk
from optishear.errors import InputError
from optishear.files import ensure_writable
from optishear.home import home_folder


def make_home() -> None:
    """Make the home folder, which Prefect wants to find when it is imported, for this user alone.

    Raises:
        InputError: if it cannot be written, or if everyone can write to it.
    """
    folder = home_folder()
    with suppress(OSError):  # reported below
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ensure_writable(folder)
    if folder.stat().st_mode & stat.S_IWOTH:
        raise InputError(
            f"Everyone can write to the folder {str(folder)!r}, from which runs take earlier results; "
            f"run chmod o-w {shlex.quote(str(folder))}, or set OPTISHEAR_HOME to another folder."
        )


class _Without(logging.Filter):
    """Drops the records that have a word in them."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self._word = word

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep the record."""
        return self._word not in record.getMessage()


class _WithoutDisks(logging.Filter):
    """Drops what libraries log of a disk that is full, cannot be written or is broken, with a traceback for each try.

    They raise the same error, and who asked for the write says it in one sentence.

    Attributes:
        home: the home folder at the begin, and its identity.
    """

    home: tuple[Path, tuple[int, int] | None] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep the record."""
        if says_disk(record.getMessage()):
            return False
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is None:
            return True
        if self.home is not None and self.home[0] == home_folder() and self.home[1] != identity(home_folder()):
            return False  # it has gone, and may have been made again
        return disk_reason(error) is None and disk_error(error, home_folder()) is None


class _Console(logging.StreamHandler):  # type: ignore[type-arg]
    """Log lines on standard error, each on its own line beside the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record between the bars, which are drawn again below it."""
        try:
            tqdm.write(self.format(record), file=self.stream)
        except Exception:  # as logging's own handlers do
            self.handleError(record)


# Tracebacks of bad input, which the command line reports in one sentence.
_WITHOUT_INPUT_ERRORS = _Without("InputError")
# Errors of Prefect's events, of which each has a traceback, while its server is away.
_WITHOUT_LOST_EVENTS = _Without("EventsWorker")
_WITHOUT_DISKS = _WithoutDisks()
# They write to MLflow's database and are imported later; a filter of the logger above them would not see their records.
_WRITERS_OF_MLFLOW = ("mlflow.store.db.utils", "mlflow.system_metrics.system_metrics_monitor")


def quiet_console() -> None:
    """Show the log lines of the stages on standard error, without tracebacks of bad input and of broken disks."""
    from prefect.logging.configuration import setup_logging

    setup_logging()
    logging.getLogger("prefect._internal.concurrency").addFilter(_WITHOUT_LOST_EVENTS)
    # It warns of each repeated request; what fails in the end is reported by who asked.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    stages = logging.getLogger("optishear")
    stages.setLevel(logging.INFO)
    stages.handlers = [handler for handler in stages.handlers if not isinstance(handler, _Console)]
    stages.addHandler(_Console())
    # Prefect's console handler on the root logger would print every line twice.
    stages.propagate = False
    _WITHOUT_DISKS.home = home_folder(), identity(home_folder())
    for filtered in (*logging.getLogger().handlers, *map(logging.getLogger, _WRITERS_OF_MLFLOW)):
        filtered.addFilter(_WITHOUT_DISKS)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_WITHOUT_INPUT_ERRORS)
