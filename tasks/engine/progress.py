"""How far a search or a run is, as a bar on its page in the Prefect UI."""

import logging
import time
from collections.abc import Callable, Sized
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from optishear.searching.rounds import DEFAULT_TRIALS

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


def show_progress(trials: int | None) -> Callable[[Sized], None]:
    """A function to call with all trials so far; it does nothing outside of a task run.

    Args:
        trials: how many there will be; the search's default where not given.
    """
    if TaskRunContext.get() is None:
        return lambda _: None
    total = trials or DEFAULT_TRIALS
    bar = ProgressBar("search", "trials of the search")
    updated = 0.0

    def show(evaluated: Sized) -> None:
        nonlocal updated
        if time.monotonic() - updated < _SECONDS_BETWEEN_UPDATES:
            return
        updated = time.monotonic()
        bar.show(min(100.0, 100 * len(evaluated) / total))

    return show
