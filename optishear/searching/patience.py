"""How long a worker's answer is waited for, from the time that candidates took before."""

from collections.abc import Sequence
from threading import Lock

from optishear.searching.measuring import Measured, Work

# Many times the slowest measurement so far, and never less than minutes: a machine may be busy for a while.
TIMES_SLOWEST, LEAST_SECONDS = 30.0, 600.0
# For a worker's first answer, in which it loads the model; nothing was measured on it yet.
START_SECONDS = 3600.0


class Patience:
    """What the workers of a search measured, and how long they are waited for; shared by their threads."""

    def __init__(
        self, times: float = TIMES_SLOWEST, least: float = LEAST_SECONDS, start: float = START_SECONDS
    ) -> None:
        """Begin with nothing measured.

        Args:
            times: what a measurement may take, as a multiple of the slowest so far.
            least: seconds that every measurement may take.
            start: seconds that a worker may take to its first answer, beside the measurement.
        """
        self._times, self._least, self._start = times, least, start
        # Seconds of the slowest candidate so far, and the most that one of a candidate's sequences took on average.
        self._slowest, self._slowest_sequence = 0.0, 0.0
        self._lock = Lock()

    def seconds(self, work: Work, is_first: bool) -> float:
        """How long a worker's answer is waited for.

        Args:
            work: what it was given.
            is_first: whether the worker has not answered before.
        """
        # On fewer sequences the masks take as long.
        expected = max(self._slowest, self._slowest_sequence * _sequences(work))
        return max(self._least, self._times * expected) + (self._start if is_first else 0.0)

    def learn(self, work: Work, measured: Sequence[Measured]) -> None:
        """Take a measurement into account."""
        seconds = sum(part.seconds for part in measured)
        with self._lock:
            self._slowest = max(self._slowest, seconds)
            self._slowest_sequence = max(self._slowest_sequence, seconds / _sequences(work))


def _sequences(work: Work) -> int:
    return max(1, sum(part.count for part in work.parts))
