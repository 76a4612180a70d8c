"""The embedded defaults: Prefect and MLflow without a server to start, quiet, and with nothing sent anywhere."""

import logging
import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from optishear.disk import disk_error, disk_reason, identity, says_disk
from optishear.errors import InputError
from optishear.files import ensure_writable
from optishear.home import home_folder

_DEFAULTS = {
    # PyTorch's threads would spin while they wait, and take the cores from the threads that select masks and from
    # Prefect's server: on two cores that makes text generation up to ten times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    # The log lines of the stages are also shown on the run's page.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "optishear",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A stage continues without MLflow: it must not wait minutes for an unreachable server, as with MLflow's own limits.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    # Waits double from 2 s: a run waits eight minutes in all for a server that is started again, not one minute.
    "PREFECT_CLIENT_MAX_RETRIES": "8",
    # On a busy machine the first start, which makes the database, takes longer than Prefect's own 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}
_OWN_PREFECT = ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")


def set_defaults() -> None:
    """Set what the environment leaves open; has to come before Prefect and MLflow are imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not _has_own_prefect():
        os.environ["PREFECT_HOME"] = str(embedded_prefect_home())
    # Results are references into the artifact store, so they are stored beside it, for every server and worker.
    os.environ.setdefault("PREFECT_RESULTS_LOCAL_STORAGE_PATH", str(home_folder().absolute() / "results"))


def embedded_prefect_home() -> Path:
    """Prefect's folder where the user has set up none."""
    return home_folder().absolute() / "prefect"


def uses_embedded_prefect() -> bool:
    """Whether runs are recorded in the embedded server."""
    return os.environ.get("PREFECT_HOME") == str(embedded_prefect_home())


def _has_own_prefect() -> bool:
    if any(os.environ.get(name) for name in _OWN_PREFECT):
        return True
    return (Path.home() / ".prefect" / "profiles.toml").exists()


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
