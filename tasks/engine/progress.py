"""How far a search is, as a bar on its page in the Prefect UI."""

import logging
import time
from collections.abc import Callable, Sized
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from optishear.searching.rounds import DEFAULT_TRIALS

_SECONDS_BETWEEN_UPDATES = 2.0
logger = logging.getLogger("optishear.stages")


def show_progress(trials: int | None) -> Callable[[Sized], None]:
    """A function to call with all trials so far; it does nothing outside of a task run.

    Args:
        trials: how many there will be; the search's default where not given.
    """
    if TaskRunContext.get() is None:
        return lambda _: None
    total = trials or DEFAULT_TRIALS
    shown: list[UUID] = []
    updated = 0.0

    def show(made: Sized) -> None:
        nonlocal updated
        if time.monotonic() - updated < _SECONDS_BETWEEN_UPDATES:
            return
        updated = time.monotonic()
        percent = min(100.0, 100 * len(made) / total)
        try:
            if shown:
                update_progress_artifact(shown[0], progress=percent)
            else:
                bar = create_progress_artifact(percent, key="search", description="trials of the search")
                shown.extend([bar] if isinstance(bar, UUID) else [])
        except Exception as error:  # a server that is away for a moment must not end a night's search
            logger.warning("The progress cannot be shown in Prefect: %s", error)

    return show
