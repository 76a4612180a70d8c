"""How far a stage or a run is, as a bar on its page in the Prefect UI."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from optishear.errors import first_line

_SECONDS_BETWEEN_UPDATES = 2.0
_SECONDS_AFTER_A_FAILURE = 60.0
# The last value is worth this wait at the end of a run, not more.
_SECONDS_TO_END = 2.0
logger = logging.getLogger("optishear.stages")


class ProgressBar:
    """A bar on the page of the task or flow run that makes it.

    A thread of its own sends the latest value: where the server is away, Prefect's client repeats a request for
    minutes, and a search must not wait for that.
    """

    def __init__(self, key: str, description: str) -> None:
        self._key = key
        self._description = description
        self._bar: UUID | None = None
        self._percent: float | None = None
        self._changed = threading.Condition()
        self._closed = False
        # The context holds the run that the bar belongs to.
        self._sender = threading.Thread(target=copy_context().run, args=(self._send,), name="progress", daemon=True)
        self._sender.start()

    def show(self, percent: float) -> None:
        """Show how far it is, 0 to 100; returns at once."""
        with self._changed:
            self._percent = percent
            self._changed.notify()

    def close(self) -> None:
        """Send the last value, if the server takes it at once."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._sender.join(_SECONDS_TO_END)

    def _send(self) -> None:
        while (percent := self._next()) is not None:
            try:
                self._put(percent)
                wait = _SECONDS_BETWEEN_UPDATES
            except Exception as error:  # a server that is away for a moment must not end a night's run
                logger.warning("The progress cannot be shown in Prefect: %s", first_line(error))
                wait = _SECONDS_AFTER_A_FAILURE
            with self._changed:
                self._changed.wait_for(lambda: self._closed, wait)

    def _next(self) -> float | None:
        """The latest value that is not sent yet, when there is one; ``None`` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._percent is not None)
            percent, self._percent = self._percent, None
            return percent

    def _put(self, percent: float) -> None:
        if self._bar is not None:
            update_progress_artifact(self._bar, progress=percent)
        else:
            bar = create_progress_artifact(percent, key=self._key, description=self._description)
            self._bar = bar if isinstance(bar, UUID) else None


@contextmanager
def progress_bar(key: str, description: str) -> Iterator[Callable[[float], None]]:
    """Lend a function to call with the share that is done, 0 to 1; it does nothing outside of a task run."""
    if TaskRunContext.get() is None:
        yield lambda _: None
        return
    bar = ProgressBar(key, description)
    try:
        yield lambda share: bar.show(min(100.0, 100 * share))
    finally:
        bar.close()
