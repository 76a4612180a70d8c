"""A process is recorded while it computes runs, and it is never taken for one that has ended while it may live."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from optishear.errors import InputError
from optishear.file_lock import try_lock
from optishear.running import birth_of
from other_process import other_process
from tasks.store import processes
from tasks.store.processes import (
    ProcessRecord,
    ended_process,
    other_records,
    own_process,
    processes_folder,
    recorded_process,
)

RECORDED = """
import sys
from tasks.store.processes import recorded_process
with recorded_process("run", "a server"):
    print("recorded", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other() -> Iterator["subprocess.Popen[str]"]:
    """Another process, which is recorded."""
    with other_process(RECORDED, says="recorded") as process:
        yield process


def is_ended(path: Path) -> bool:
    with ended_process(path) as record:
        return record is not None


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.usefixtures("file_system")
def test_a_process_has_ended_when_it_was_killed_and_not_before(other: "subprocess.Popen[str]") -> None:
    (path,) = other_records()
    assert not is_ended(path)
    other.kill()
    other.wait()
    with ended_process(path) as record:
        assert record is not None
        assert (record.pid, record.host, record.command) == (other.pid, platform.node(), "run")


def test_a_process_of_another_machine_may_live(other: "subprocess.Popen[str]") -> None:
    (path,) = other_records()
    other.kill()
    other.wait()
    change(path, host="elsewhere")
    assert not is_ended(path)
    assert path.exists()


@pytest.mark.usefixtures("other")
def test_the_lock_counts_more_than_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two containers of one name, each of which sees its own processes alone."""
    (path,) = other_records()
    monkeypatch.setattr(processes, "is_running", lambda *_: False)
    assert not is_ended(path)


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}'])
def test_what_is_no_record_is_left_alone(content: str) -> None:
    path = processes_folder() / "other.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert not is_ended(path)
    assert path.read_text() == content


def test_a_number_that_another_process_has_got_since_is_of_none(other: "subprocess.Popen[str]") -> None:
    (path,) = other_records()
    assert not ProcessRecord.model_validate_json(path.read_bytes()).has_ended
    change(path, birth=birth_of(os.getpid()))
    assert ProcessRecord.model_validate_json(path.read_bytes()).has_ended


def test_a_record_of_release_0_4_has_no_birth(other: "subprocess.Popen[str]") -> None:
    (path,) = other_records()
    content = json.loads(path.read_text())
    del content["birth"]
    record = ProcessRecord.model_validate({**content, "started": 0.0})
    assert not record.has_ended
    other.kill()
    other.wait()
    assert record.has_ended


def test_a_record_that_is_being_written_stays_however_old_it_seems() -> None:
    """As after a clock that was set forward."""
    folder = processes_folder()
    folder.mkdir(parents=True)
    held, left = folder / ".0123.partial", folder / ".4567.partial"
    day_ago = time.time() - 86_400
    for path in (held, left):
        path.touch()
        os.utime(path, (day_ago, day_ago))
    with held.open("r+b") as file:
        assert try_lock(file.fileno())
        other_records()
        assert held.exists()
        assert not left.exists()
    other_records()
    assert not held.exists()


def test_one_process_at_a_time_looks_after_the_runs(other: "subprocess.Popen[str]") -> None:
    (path,) = other_records()
    other.kill()
    other.wait()
    with ended_process(path) as first, ended_process(path) as second:
        assert first is not None
        assert second is None


def test_an_own_record_goes_with_its_runs() -> None:
    with recorded_process("run", "server"):
        own = own_process()
        assert own is not None
        own.add_experiment("sqlite:///x", "1")
        own.add_experiment("sqlite:///x", "1")
        (path,) = processes_folder().iterdir()
        assert len(json.loads(path.read_text())["experiments"]) == 1
        assert path.stat().st_mode & 0o777 == 0o600
        assert other_records() == []
    assert own_process() is None
    assert list(processes_folder().iterdir()) == []


@pytest.mark.parametrize(
    ("error", "left"), [(InputError("bad"), False), (ConnectionError("away"), True), (KeyboardInterrupt(), True)]
)
def test_after_an_error_that_may_have_left_runs_another_process_looks(error: BaseException, left: bool) -> None:
    with pytest.raises(type(error)), recorded_process("run", "server"):
        raise error
    assert [is_ended(path) for path in other_records()] == [True] * left


def test_a_record_that_was_never_finished_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (processes_folder() / f".{name}.partial" for name in ("old", "new"))
    old.parent.mkdir(parents=True)
    for path in (old, new):
        path.touch()
    os.utime(old, (1, 1))
    assert other_records() == []
    assert (old.exists(), new.exists()) == (False, True)
