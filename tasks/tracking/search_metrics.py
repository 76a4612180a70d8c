"""The best values of a running search, as metrics of its MLflow run."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from optishear.searching.trials import Trial
from tasks.tracking.flow_runs import unless_unreachable
from tasks.tracking.stage_runs import StageRun, current_stage_run

# After a failure, nothing is tried for as long as ten failures took, and not before a minute has passed: a search
# must not wait for a server that is away.
_SECONDS_BETWEEN_TRIES = 60.0
_FAILURES_TO_WAIT = 10

Point = tuple[str, int, float]


@contextmanager
def search_metrics() -> Iterator[Callable[[Sequence[Trial]], None]]:
    """Lend a function to call with all trials so far after every generation; it does nothing outside of a tracked run.

    For each objective, and for each number of sequences per trial, ``best/OBJECTIVE/N_sequences`` is the
    lowest value so far, at the number of trials so far as its step. A search that is continued goes through the
    same trials again and logs the steps that are not there yet.
    """
    stage = current_stage_run()
    if stage is None:
        yield lambda _: None
        return
    log = _Log(stage)
    yield log.generation
    log.send()


class _Log:
    """Holds points until MLflow has them."""

    def __init__(self, stage: StageRun) -> None:
        self._stage = stage
        self._best: dict[str, float] = {}
        self._logged = 0
        self._waiting: list[Point] = []
        self._not_before = -math.inf

    def generation(self, trials: Sequence[Trial]) -> None:
        """Log the best values of the series that the new trials belong to."""
        touched = []
        for trial in trials[self._logged :]:
            for objective, value in trial.objectives.items():
                if trial.phase == "reference" or not math.isfinite(value):
                    continue
                series = f"best/{objective}/{trial.sequences}_sequences"
                self._best[series] = min(value, self._best.get(series, value))
                touched.append(series)
        self._logged = len(trials)
        self._waiting += [(series, self._logged, self._best[series]) for series in dict.fromkeys(touched)]
        if time.monotonic() >= self._not_before:
            self.send()

    def send(self) -> None:
        """Send the waiting points; they stay waiting while MLflow cannot be reached."""
        began = time.monotonic()
        with unless_unreachable("how far the search is"):
            self._stage.run.log_points(self._waiting)
            self._waiting = []
        if self._waiting:
            took = time.monotonic() - began
            self._not_before = time.monotonic() + max(_SECONDS_BETWEEN_TRIES, _FAILURES_TO_WAIT * took)
