"""What a stage made is found whole or not at all."""

import os
import threading
from pathlib import Path

import pytest

from tasks.store import artifacts as store
from tasks.store.artifacts import Artifact, Request

REQUEST = Request(stage="count", version=1, key="count-1", parameters={"to": 3}, inputs={"model": "abc"})


def write_number(outputs: Path) -> None:
    (outputs / "number.txt").write_text("3")
    (outputs / "parts").mkdir()
    (outputs / "parts" / "one.txt").write_text("1")


def make() -> Artifact:
    return store.make_once(REQUEST, write_number)


def test_an_artifact_is_found_with_what_it_was_made_from(home: Path) -> None:
    made = make()
    found = store.find("count", "count-1")
    assert found == made
    assert found.folder == home / "artifacts" / "count" / "count-1"
    assert found.parameters == {"to": 3}
    assert found.inputs == {"model": "abc"}
    assert set(found.outputs) == {"number.txt", "parts/one.txt"}
    assert found.digest("number.txt") == "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce"
    assert found.outputs["number.txt"].size == 1
    assert found.seconds >= 0
    assert found.peak_memory_bytes > 2**20


def test_it_is_made_once() -> None:
    make()
    again = store.make_once(REQUEST, lambda outputs: pytest.fail("made again"))
    assert again == make()


def test_a_missing_one_is_not_found() -> None:
    assert store.find("count", "count-1") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "number.txt").unlink(),
        lambda folder: (folder / "number.txt").write_text("four"),
        lambda folder: (folder / "number.txt").write_text("4"),
        lambda folder: (folder / "parts" / "one.txt").unlink(),
        lambda folder: (folder / "record.json").unlink(),
        lambda folder: (folder / "record.json").write_text("{"),
        lambda folder: (folder / "record.json").write_text("[]"),
    ],
    ids=["gone", "longer", "same size", "gone in a folder", "no record", "no JSON", "no record of ours"],
)
def test_a_damaged_one_is_not_found_and_is_made_again(damage) -> None:
    folder = make().folder
    damage(folder)
    assert store.find("count", "count-1") is None
    make()
    assert (folder / "number.txt").read_text() == "3"
    assert store.find("count", "count-1") is not None


@pytest.mark.parametrize("name", ["number.txt", "parts/one.txt"])
def test_a_flipped_bit_is_found_by_the_next_process(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = make().folder / name
    whole, status = path.read_bytes(), path.stat()
    path.write_bytes(bytes([whole[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    monkeypatch.setattr(store, "_VERIFIED", set())
    with caplog.at_level("WARNING", "optishear.stages"):
        assert store.find("count", "count-1") is None
    assert f"count: {name} is damaged or missing" in caplog.text
    make()
    assert path.read_bytes() == whole


def test_bytes_are_read_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    assert store.find("count", "count-1") is not None
    monkeypatch.setattr(store, "sha256_of_file", lambda path: pytest.fail(f"read {path} again"))
    assert store.find("count", "count-1") is not None


def test_a_touched_file_with_the_same_bytes_is_whole() -> None:
    folder = make().folder
    os.utime(folder / "number.txt", (0, 0))
    assert store.find("count", "count-1") is not None


def test_the_home_folder_may_move(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    home.rename(home.with_name("elsewhere"))
    monkeypatch.setenv("OPTISHEAR_HOME", str(home.with_name("elsewhere")))
    found = store.find("count", "count-1")
    assert found is not None
    assert found.path("number.txt").read_text() == "3"


def test_a_failed_stage_leaves_nothing(home: Path) -> None:
    def fail(outputs: Path) -> None:
        (outputs / "number.txt").write_text("half")
        raise RuntimeError("failed")

    with pytest.raises(RuntimeError, match="failed"):
        store.make_once(REQUEST, fail)
    assert store.find("count", "count-1") is None
    assert not list(home.rglob("number.txt"))
    make()


def test_the_time_of_a_killed_process_counts_where_its_work_was_used() -> None:
    assert make().seconds < 100
    again = store.make_once(Request("count", 1, "count-2", {}, {}), lambda _: 100.0)
    assert 100 <= again.seconds < 200


def test_a_forgotten_one_is_made_again() -> None:
    store.forget(make())
    assert store.find("count", "count-1") is None
    make()


def test_two_that_want_it_at_once_make_it_once() -> None:
    made = []

    def write(outputs: Path) -> None:
        made.append(threading.get_ident())
        both_started.wait(timeout=1)
        write_number(outputs)

    both_started = threading.Event()
    threads = [threading.Thread(target=store.make_once, args=(REQUEST, write)) for _ in range(2)]
    for thread in threads:
        thread.start()
    both_started.set()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_damage_is_reported_once_and_again_for_the_next_artifact(caplog: pytest.LogCaptureFixture) -> None:
    for reported in (1, 2):
        make().path("number.txt").write_text("damaged")
        for _ in range(3):
            assert store.find("count", "count-1") is None
        assert len(caplog.records) == reported
