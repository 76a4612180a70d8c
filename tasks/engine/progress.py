"""How far a stage or a run is, as a bar on its page in the Prefect UI."""

import logging
import time
from collections.abc import Callable
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

_SECONDS_BETWEEN_UPDATES = 2.0
logger = logging.getLogger("optishear.stages")


class ProgressBar:
    """A bar on the page of the task or flow run that shows it first."""

    def __init__(self, key: str, description: str) -> None:
        self._key = key
        self._description = description
        self._bar: UUID | None = None

    def show(self, percent: float) -> None:
        """Show how far it is, 0 to 100."""
        try:
            if self._bar is not None:
                update_progress_artifact(self._bar, progress=percent)
            else:
                bar = create_progress_artifact(percent, key=self._key, description=self._description)
                self._bar = bar if isinstance(bar, UUID) else None
        except Exception as error:  # a server that is away for a moment must not end a night's run
            logger.warning("The progress cannot be shown in Prefect: %s", error)


def progress_bar(key: str, description: str) -> Callable[[float], None]:
    """A function to call with the share that is done, 0 to 1; it does nothing outside of a task run."""
    if TaskRunContext.get() is None:
        return lambda _: None
    bar = ProgressBar(key, description)
    updated = 0.0

    def show(share: float) -> None:
        nonlocal updated
        if time.monotonic() - updated < _SECONDS_BETWEEN_UPDATES:
            return
        updated = time.monotonic()
        bar.show(min(100.0, 100 * share))

    return show
