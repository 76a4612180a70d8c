"""The rows of a night cost the same for each run, however many runs and earlier nights there are."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from flows.parameters.pipeline import PipelineParameters
from flows.shared import night_history, night_rows
from flows.shared.night_history import Night
from flows.shared.night_rows import EndedRun, children_of
from flows.shared.nightly_plan import PlannedRun
from optishear.json_file import write_json
from optishear.report.night import NightScores
from run_metrics.samples import make_metrics

BEGAN = datetime(2026, 11, 1, 2, tzinfo=UTC)


def ended_run(output: Path) -> EndedRun:
    output.mkdir()
    write_json(output / "metrics.json", make_metrics(tasks=False))
    return EndedRun(PlannedRun("model 0.5", PipelineParameters(model=str(output), output=output)))


def test_the_earlier_nights_are_read_once_for_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [ended_run(tmp_path / f"run-{number}") for number in range(4)]
    for day in range(6):
        scores = {str(run.run.parameters.output): NightScores(20.0, 30.0, 25.0 - day) for run in runs}
        Night(flow_run=f"night-{day}", began=BEGAN + timedelta(days=day), scores=scores).save()
    reads: list[Path] = []
    read = night_history._read

    def count(path: Path) -> Night | None:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(night_history, "_read", count)
    tonight = Night(flow_run="tonight", began=BEGAN + timedelta(days=9), scores={})
    rows = night_rows.night_rows(runs, tonight)
    assert [row.before for row in rows] == [NightScores(20.0, 30.0, 20.0)] * 4
    assert len(reads) == 6
    assert set(tonight.scores) == {str(run.run.parameters.output) for run in runs}


def test_all_pages_of_a_nights_runs_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [SimpleNamespace(id=uuid4(), expected_start_time=f"{number:04d}") for number in range(450)]

    class Client:
        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *_: object) -> None: ...

        def read_flow_runs(self, *, offset: int, **_: Any) -> list[Any]:
            return runs[offset : offset + 200]

    monkeypatch.setattr(night_rows, "get_client", lambda **_: Client())
    assert [run.id for run in children_of(str(uuid4()))] == [run.id for run in reversed(runs)]
