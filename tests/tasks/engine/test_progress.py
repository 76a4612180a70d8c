"""A progress bar sends the latest value from a thread of its own, and never holds up who shows it."""

import logging
import threading
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from tasks.engine import progress
from tasks.engine.progress import ProgressBar, progress_bar


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What Prefect's server got."""
    values: list[float] = []

    def create(percent: float, **_: str) -> UUID:
        values.append(percent)
        return uuid4()

    def update(_: UUID, *, progress: float) -> None:
        values.append(progress)

    monkeypatch.setattr(progress, "create_progress_artifact", create)
    monkeypatch.setattr(progress, "update_progress_artifact", update)
    monkeypatch.setattr(progress, "_SECONDS_TO_END", 60.0)
    return values


def test_the_last_value_is_sent_before_the_end(sent: list[float]) -> None:
    bar = ProgressBar("search", "trials")
    for percent in (1.0, 2.0, 3.0, 100.0):
        bar.show(percent)
    bar.close()
    assert sent[-1] == 100.0
    assert sent == sorted(sent)


def test_values_meanwhile_are_dropped_and_nobody_waits(monkeypatch: pytest.MonkeyPatch, sent: list[float]) -> None:
    asked, answers = threading.Event(), threading.Event()
    create: Callable[..., UUID] = progress.create_progress_artifact

    def slow(percent: float, **words: str) -> UUID:
        asked.set()
        assert answers.wait(60)
        return create(percent, **words)

    monkeypatch.setattr(progress, "create_progress_artifact", slow)
    bar = ProgressBar("search", "trials")
    bar.show(1.0)
    assert asked.wait(60)
    for percent in (2.0, 3.0, 4.0):  # returns, although the server has not answered
        bar.show(percent)
    assert not sent
    answers.set()
    bar.close()
    assert sent == [1.0, 4.0]


def test_the_wording_of_the_warning_where_the_server_is_away(
    monkeypatch: pytest.MonkeyPatch, sent: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: float, **__: str) -> UUID:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(progress, "create_progress_artifact", refused)
    with caplog.at_level(logging.WARNING):
        bar = ProgressBar("search", "trials")
        bar.show(1.0)
        bar.close()
    assert "cannot be shown in Prefect: Connection refused" in caplog.text
    assert not sent


def test_outside_of_a_task_nothing_is_sent(sent: list[float]) -> None:
    with progress_bar("search", "trials") as show:
        show(0.5)
    assert not sent
