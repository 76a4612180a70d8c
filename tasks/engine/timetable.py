"""The expected time of a run, stage by stage: announced at its start, and compared with what each stage took.

A flow sets a timetable for its body; the stages that it calls report to it. Nothing depends on it but log lines, the
progress bar on the run's page in the Prefect UI, and the times that ``metrics.json`` and the report show.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field

from prefect.context import FlowRunContext

from optishear.run_metrics.schema import StageTime
from optishear.units import format_seconds
from tasks.engine.progress import ProgressBar

_SECONDS_BETWEEN_REPORTS = 60.0
_SECONDS_BETWEEN_UPDATES = 5.0
logger = logging.getLogger("optishear.stages")


@dataclass
class Timetable:
    """Expected seconds by label, in the order in which the stages run; updated as they end.

    Attributes:
        expected: as estimated at the start.
        ended: what each stage took, by label.
        running: the label of the stage that runs now, and its begin by the monotonic clock.
    """

    expected: Mapping[str, float | None]
    ended: dict[str, StageTime] = field(default_factory=dict)
    running: tuple[str, float] | None = None

    def begin(self, label: str) -> None:
        """Note that a stage begins now."""
        self.running = (label, time.monotonic())

    def end(self, label: str, seconds: float, cached: bool) -> None:
        """Note that a stage ended."""
        self.running = None
        self.ended[label] = StageTime(
            stage=label,
            expected_seconds=self.expected.get(label),
            seconds=round(seconds, 3),
            cached=cached,
        )

    def seconds_of(self, label: str) -> float | None:
        """Expected seconds of a stage, by what has been measured since the start.

        A stage of the same kind that has ended in this run, such as another model's evaluation, is the best estimate.
        """
        kind = label.partition(" ")[0]
        alike = [
            entry.seconds
            for name, entry in self.ended.items()
            if name.partition(" ")[0] == kind and name != label and not entry.cached
        ]
        if alike and self.expected.get(label) is not None:
            return alike[-1]
        return self.expected.get(label)

    def left(self) -> float:
        """Expected seconds until the last stage ends; a stage without an estimate counts nothing."""
        total = 0.0
        for label in self.expected:
            if label in self.ended:
                continue
            expected = self.seconds_of(label) or 0.0
            if self.running is not None and self.running[0] == label:
                expected = max(0.0, expected - (time.monotonic() - self.running[1]))
            total += expected
        return total

    def progress(self) -> float:
        """Share of the expected time that has passed, 0 to 1."""
        took = sum(entry.seconds or 0.0 for entry in self.ended.values() if not entry.cached)
        if self.running is not None:
            expected = self.seconds_of(self.running[0]) or 0.0
            took += min(expected, time.monotonic() - self.running[1])
        whole = took + self.left()
        return took / whole if whole else 1.0

    def times(self) -> list[StageTime]:
        """All stages that ended, and those that are still expected."""
        missing = [label for label in self.expected if label not in self.ended]
        return [
            *self.ended.values(),
            *(StageTime(stage=label, expected_seconds=self.expected[label]) for label in missing),
        ]


_timetable: ContextVar[Timetable | None] = ContextVar("timetable", default=None)


def current_timetable() -> Timetable | None:
    """The timetable of the running flow; ``None`` where its times were not estimated."""
    return _timetable.get()


@contextmanager
def keep_time(timetable: Timetable | None) -> Iterator[None]:
    """Let the stages of the body report to a timetable."""
    token = _timetable.set(timetable)
    try:
        if timetable is None:
            yield
            return
        started = time.monotonic()
        with _reports(timetable):
            yield
        logger.info("%s", _summary(timetable, time.monotonic() - started))
    finally:
        _timetable.reset(token)


def _summary(timetable: Timetable, seconds: float) -> str:
    """What the run and each of its stages took, beside what was expected."""
    lines = [f"Took {format_seconds(seconds)}"]
    times = [entry for entry in timetable.times() if entry.seconds is not None and not entry.cached]
    width = max((len(entry.stage) for entry in times), default=0)
    for entry in times:
        expected = f" (expected {format_seconds(entry.expected_seconds)})" if entry.expected_seconds else ""
        lines.append(f"  {entry.stage:<{width}}  {format_seconds(entry.seconds or 0.0)}{expected}")
    return "\n".join(lines)


@contextmanager
def timed_stage(label: str, cached: bool) -> Iterator[None]:
    """Report a stage's begin and end to the running flow's timetable."""
    timetable = current_timetable()
    if timetable is None:
        yield
        return
    started = time.monotonic()
    timetable.begin(label)
    yield
    timetable.end(label, time.monotonic() - started, cached)


def expectation(label: str) -> str:
    """What the log says when a stage begins: ``, about 3 min 40 s``; empty where nothing is expected."""
    timetable = current_timetable()
    seconds = timetable.seconds_of(label) if timetable is not None else None
    return f", about {format_seconds(seconds)}" if seconds else ""


def time_left() -> str:
    """What the log says when a stage has ended: ``; about 5 min left``; empty where nothing is left or expected."""
    timetable = current_timetable()
    if timetable is None or not timetable.left():
        return ""
    return f"; about {format_seconds(timetable.left())} left"


@contextmanager
def _reports(timetable: Timetable) -> Iterator[None]:
    """Report the progress each minute to the log, and more often to the run's page in the Prefect UI."""
    ended = threading.Event()
    bar = ProgressBar("run", "expected time of the run") if FlowRunContext.get() is not None else None

    def report() -> None:
        logged = time.monotonic()
        while not ended.wait(_SECONDS_BETWEEN_UPDATES):
            if bar is not None:
                bar.show(100 * timetable.progress())
            running = timetable.running
            if running is not None and time.monotonic() - logged >= _SECONDS_BETWEEN_REPORTS:
                logged = time.monotonic()
                logger.info("%s", running_sentence(timetable, *running))

    # The context holds the flow run whose page shows the log lines.
    reporter = threading.Thread(target=copy_context().run, args=(report,), name="reports", daemon=True)
    reporter.start()
    try:
        yield
        if bar is not None:
            bar.show(100.0)
    finally:
        ended.set()
        reporter.join()
        if bar is not None:
            bar.close()


def running_sentence(timetable: Timetable, label: str, started: float) -> str:
    """How far a stage and its run are: ``search: 2 min of about 3 min 40 s; about 5 min left``."""
    took, expected = time.monotonic() - started, timetable.seconds_of(label)
    if expected is None:
        sentence = f"{label}: {format_seconds(took)} so far"
    elif took > expected:
        sentence = f"{label}: {format_seconds(took)} so far, longer than the expected {format_seconds(expected)}"
    else:
        sentence = f"{label}: {format_seconds(took)} of about {format_seconds(expected)}"
    return f"{sentence}; about {format_seconds(timetable.left())} left" if timetable.left() else sentence
