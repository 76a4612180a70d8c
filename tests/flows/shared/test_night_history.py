"""What a night keeps for the next one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.shared.night_history import Night, last_scores, new_night, nights_before
from optishear.report.night import NightScores

BEGAN = datetime(2026, 11, 26, 2, tzinfo=UTC)


def night(name: str, days: int, **perplexities: float) -> Night:
    scores = {str(Path(run).absolute()): NightScores(20.0, 30.0, value) for run, value in perplexities.items()}
    return Night(flow_run=name, began=BEGAN + timedelta(days=days), scores=scores)


def test_a_run_is_compared_with_the_last_night_in_which_it_completed() -> None:
    night("first", 0, a=25.0, b=26.0).save()
    night("second", 1, a=24.0).save()
    night("later", 3, a=1.0, b=1.0).save()
    tonight = night("third", 2)
    before = {run: last_scores(Path(run), nights_before(tonight)) for run in ("a", "b", "c")}
    assert before == {"a": NightScores(20.0, 30.0, 24.0), "b": NightScores(20.0, 30.0, 26.0), "c": None}


def test_a_retry_is_the_same_night() -> None:
    kept = night("first", 0, a=25.0)
    kept.save()
    assert new_night("first") == kept
    assert nights_before(new_night("first")) == []


def test_a_record_that_cannot_be_read_is_passed_over() -> None:
    broken = night("broken", 0)
    broken.save()
    (broken.folder / "night.json").write_text("{")
    assert nights_before(night("second", 1)) == []
