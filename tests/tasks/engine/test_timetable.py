"""The expected times of a run and what its stages took."""

import logging
import time
from pathlib import Path

import pytest
from prefect import flow

from optishear.parameters.calibration import CalibrationParameters
from tasks.engine import timetable as module
from tasks.engine.stage import Stage
from tasks.engine.timetable import Timetable, expectation, keep_time, running_sentence, time_left, timed_stage

EXPECTED = {"calibrate": 10.0, "search": 100.0, "evaluate dense": 20.0, "evaluate wanda": 20.0, "report": None}


def test_before_the_first_stage_all_is_left() -> None:
    table = Timetable(EXPECTED)
    assert table.left() == 150.0
    assert table.progress() == 0.0


def test_what_has_ended_is_not_left() -> None:
    table = Timetable(EXPECTED)
    table.end("calibrate", 50.0, cached=False)
    assert table.left() == 140.0
    assert table.progress() == pytest.approx(50 / 190)


def test_a_stage_from_the_store_takes_no_time() -> None:
    table = Timetable(EXPECTED)
    table.end("calibrate", 0.1, cached=True)
    assert table.left() == 140.0
    assert table.progress() == 0.0


def test_a_stage_of_the_same_kind_is_the_better_estimate() -> None:
    table = Timetable(EXPECTED)
    table.end("evaluate dense", 35.0, cached=False)
    assert table.seconds_of("evaluate wanda") == 35.0
    assert table.seconds_of("search") == 100.0
    table.end("evaluate dense", 0.0, cached=True)
    assert table.seconds_of("evaluate wanda") == 20.0


def test_a_running_stage_counts_what_it_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    table = Timetable(EXPECTED)
    table.begin("search")
    now += 60
    assert table.left() == 90.0
    now += 60
    assert table.left() == 50.0  # it takes longer than expected, and nobody knows by how much


def test_times_hold_the_expected_beside_the_real_seconds() -> None:
    table = Timetable(EXPECTED)
    table.end("search", 90.0, cached=False)
    first, *others = table.times()
    assert (first.stage, first.expected_seconds, first.seconds, first.cached) == ("search", 100.0, 90.0, False)
    assert [each.stage for each in others] == ["calibrate", "evaluate dense", "evaluate wanda", "report"]
    assert all(each.seconds is None for each in others)


@pytest.mark.parametrize(
    ("label", "ago", "sentence"),
    [
        ("search", 30, "search: 30 s of about 1 min 40 s; about 2 min 30 s left"),
        ("search", 120, "search: 2 min so far, longer than the expected 1 min 40 s; about 2 min 30 s left"),
        ("export", 30, "export: 30 s so far; about 2 min 30 s left"),
    ],
)
def test_the_sentence_of_a_running_stage(label: str, ago: float, sentence: str) -> None:
    assert running_sentence(Timetable(EXPECTED), label, time.monotonic() - ago) == sentence


def test_without_a_timetable_nothing_is_said() -> None:
    assert expectation("search") == ""
    assert time_left() == ""
    with timed_stage("search", cached=False):
        pass


def test_the_timetable_holds_for_the_body_alone() -> None:
    table = Timetable(EXPECTED)
    with keep_time(table):
        assert expectation("search") == ", about 1 min 40 s"
        assert time_left() == "; about 2 min 30 s left"
        with timed_stage("search", cached=False):
            pass
    assert "search" in table.ended
    assert expectation("search") == ""


def test_a_stage_that_fails_has_not_ended() -> None:
    table = Timetable(EXPECTED)
    with pytest.raises(RuntimeError), keep_time(table), timed_stage("search", cached=False):
        raise RuntimeError
    assert table.ended == {}


@pytest.mark.usefixtures("prefect_server")
def test_stages_report_to_the_timetable_of_their_flow(caplog: pytest.LogCaptureFixture) -> None:
    def write(outputs: Path, parameters: CalibrationParameters) -> None:
        (outputs / "words.txt").write_text("word " * parameters.sequences)

    words = Stage("words", 1, ("sequences",), lambda parameters: {"text": parameters.calibration}, write)
    tables = [Timetable({"words": 90.0, "others": 60.0}) for _ in range(2)]

    @flow(name="timed")
    def timed(parameters: CalibrationParameters, run: int) -> None:
        with keep_time(tables[run]):
            words(parameters)

    with caplog.at_level(logging.INFO, logger="optishear.stages"):
        timed(CalibrationParameters(), 0)
        timed(CalibrationParameters(), 1)
    assert not tables[0].ended["words"].cached
    assert tables[1].ended["words"].cached
    assert "words: started, about 1 min 30 s" in caplog.messages
    assert any(message.endswith("; about 1 min left") for message in caplog.messages)
