"""Points of a running stage, on their way to its MLflow run."""

import math
import time

from tasks.tracking.flow_runs import unless_unreachable
from tasks.tracking.stage_runs import StageRun

# After a failure, nothing is tried for as long as ten failures took, and not before a minute has passed: a stage
# must not wait for a server that is away.
_SECONDS_BETWEEN_TRIES = 60.0
_FAILURES_TO_WAIT = 10

Point = tuple[str, int, float]


class PointLog:
    """Holds points until MLflow has them."""

    def __init__(self, stage: StageRun, subject: str) -> None:
        """Begin with no points.

        Args:
            stage: whose run gets them.
            subject: what they show, for the log where MLflow cannot be reached.
        """
        self._stage = stage
        self._subject = subject
        self._waiting: list[Point] = []
        self._not_before = -math.inf

    def add(self, points: list[Point]) -> None:
        """Take points as (name, step, value), and send them unless a failure was just now."""
        self._waiting += points
        if time.monotonic() >= self._not_before:
            self.send()

    def send(self) -> None:
        """Send the waiting points; they stay waiting while MLflow cannot be reached."""
        began = time.monotonic()
        with unless_unreachable(self._subject):
            self._stage.run.log_points(self._waiting)
            self._waiting = []
        if self._waiting:
            took = time.monotonic() - began
            self._not_before = time.monotonic() + max(_SECONDS_BETWEEN_TRIES, _FAILURES_TO_WAIT * took)
