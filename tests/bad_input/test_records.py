"""What earlier runs kept is read as it was written, passed over, or refused in one sentence."""

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bad_input.attack import attack, result_of
from bad_input.strategies import changed, damaged
from flows.shared import night_history
from flows.shared.night_history import Night, nights_before
from flows.shared.output_record import RECORD as OUTPUT_RECORD
from flows.shared.output_record import OutputRecord, WrittenFile, read_record, remains_of
from optishear.models.digest import digest_of_file
from optishear.recovery.state import RecoveryState, load_state, save_state
from optishear.run_metrics.file import read_metrics
from optishear.run_metrics.schema import RunMetrics
from optishear.searching.journal import Journal
from run_metrics.samples import make_metrics
from tasks.store.artifacts import RECORD, Request, find, make_once
from tasks.store.processes import ended_process, other_records, processes_folder

_NIGHTS = (("former", 26), ("now", 27))


def _bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def _kept(document: Any) -> st.SearchStrategy[bytes]:
    """A JSON file with other values, or with other bytes; or one that is nested beyond what can be read."""
    return changed(document).map(_bytes) | damaged(_bytes(document)) | st.just(b"[" * 20_000)


def _try(file: Path, content: bytes, read: Callable[[], Any]) -> Any:
    """What is read with other content in a file, which is as before afterwards."""
    whole = file.read_bytes()
    file.write_bytes(content)
    try:
        return result_of(read)
    finally:
        file.write_bytes(whole)


@given(data=st.data())
@attack(60)
def test_a_journal(data: st.DataObject, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    file, values = tmp_path / "journal.jsonl", {"a": {"kl": [0.5, 1.0], "seconds": [0.1]}, "b": {"seconds": [2.0]}}
    file.unlink(missing_ok=True)
    journal = Journal(file)
    for key, measurement in values.items():
        journal.put(key, measurement)
    line = json.loads(file.read_bytes().splitlines()[0])
    read = _try(file, data.draw(damaged(file.read_bytes()) | _kept(line)), lambda: Journal(file))
    assert all(read.get(key) in (None, measurement) for key, measurement in values.items())
    assert len(read) <= len(values)


@given(data=st.data())
@attack(60)
def test_metrics(data: st.DataObject, tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    file.write_text("")
    content = data.draw(_kept(make_metrics().model_dump(mode="json")))
    metrics = _try(file, content, lambda: read_metrics(file, RunMetrics))
    assert metrics is None or isinstance(metrics, RunMetrics)


@given(data=st.data())
@attack(60)
def test_a_night(data: st.DataObject) -> None:
    former, now = (Night(flow_run=name, began=datetime(2026, 11, day, tzinfo=UTC), scores={}) for name, day in _NIGHTS)
    former.save()
    file = former.folder / night_history._RECORD
    content = data.draw(_kept(former.model_dump(mode="json")))
    assert len(_try(file, content, lambda: nights_before(now))) <= 1


@given(data=st.data())
@attack(60)
def test_an_output_folder(data: st.DataObject, tmp_path: Path) -> None:
    (tmp_path / "beside").write_text("of someone else")
    folder, stage = tmp_path / "output", tmp_path / "stage"
    folder.mkdir(exist_ok=True)
    stage.mkdir(exist_ok=True)
    (folder / "report.html").write_text("results")
    record = OutputRecord(
        command="run", command_line="optishear run", files={"report.html": WrittenFile.of(folder / "report.html")}
    )
    record.save(folder)
    document = record.model_dump(mode="json")
    document["runs"] = data.draw(st.sampled_from([[], ["inner"], ["../beside"], ["/"]]))
    document["files"]["../beside"] = {"size": 15, "modified": 0}

    def read() -> Any:
        found = read_record(folder, folder)
        now = OutputRecord(command="run", command_line="optishear run")
        return remains_of(folder, stage, found, now, keeps_unknown=True).removed

    removed = _try(folder / OUTPUT_RECORD, data.draw(_kept(document)), read)
    assert set(removed) <= {"report.html", OUTPUT_RECORD}


@given(data=st.data())
@attack(60)
def test_a_process(data: st.DataObject) -> None:
    document = {"token": "a", "pid": 2**22 + 1, "host": "here", "started": 1.0, "command": "run", "server": "http://x"}
    processes_folder().mkdir(parents=True, exist_ok=True)
    file = processes_folder() / "a.json"
    file.write_bytes(data.draw(_kept(document)))
    assert other_records() == [file]
    with ended_process(file):
        pass


@given(data=st.data())
@attack(60)
def test_an_artifact(data: st.DataObject, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    request = Request("number", 1, "key", {"seed": 0}, {"model": "a"})
    artifact = make_once(request, lambda folder: (folder / "number.json").write_text("7") and None)
    file = artifact.folder / RECORD
    found = _try(file, data.draw(_kept(json.loads(file.read_text()))), lambda: find("number", "key"))
    assert found is None or (found.stage, found.key, set(found.outputs)) == ("number", "key", {"number.json"})


@given(data=st.data())
@attack(40)
def test_digests(data: st.DataObject, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optishear.models.digest._BIG_BYTES", 0)
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    digest = digest_of_file(file)
    memory = home / "digests.json"
    document = json.loads(memory.read_text())
    found = _try(memory, data.draw(_kept(document)), lambda: digest_of_file(file))
    assert re.fullmatch("[0-9a-f]{64}", found)
    assert digest_of_file(file) == digest


@given(data=st.data())
@attack(60)
def test_a_recovery(data: st.DataObject, tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    save_state(file, RecoveryState(tokens=7), {"a": torch.ones(3)})
    found = _try(file, data.draw(damaged(file.read_bytes())), lambda: load_state(file))
    assert found is None or found[0].tokens >= 0
