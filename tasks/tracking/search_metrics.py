"""The best values of a running search, as metrics of its MLflow run."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from optishear.searching.trials import Trial
from tasks.tracking.point_log import PointLog
from tasks.tracking.stage_runs import current_stage_run


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
    points = PointLog(stage, "how far the search is")
    yield _BestValues(points).generation
    points.send()


class _BestValues:
    """The best values so far."""

    def __init__(self, points: PointLog) -> None:
        self._points = points
        self._best: dict[str, float] = {}
        self._logged = 0

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
        self._points.add([(series, self._logged, self._best[series]) for series in dict.fromkeys(touched)])
