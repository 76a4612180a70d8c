"""What a journal holds is what was put into it, whatever has happened to its file since."""

import json
import logging
import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from optishear.searching.journal import Journal, Measurement, journal_line
from wording import refused

FIRST: Measurement = {"kl": [0.1, 5e-324, 1.7976931348623157e308], "seconds": [1.0, 2.0, 0.0]}
SECOND: Measurement = {"costs": [1e-9, -3.25], "loss_scale": [65536.0], "seconds": [0.25]}
# Another process that puts measurements of 20,000 bytes, more than a buffer holds, into a shared journal.
WRITER = """
import sys
from pathlib import Path
from optishear.searching.journal import Journal
path, name = Path(sys.argv[1]), sys.argv[2]
journal = Journal(path)
for number in range(30):
    journal.put(f"{name}-{number}", {"kl": [float(number)] * 4000, "seconds": [1.0]})
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with two measurements."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.put("first", FIRST)
    journal.put("second", SECOND)
    return path


def dropped(caplog: pytest.LogCaptureFixture) -> int:
    """How many lines the warnings say were dropped."""
    counts = [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]
    caplog.clear()
    return sum(counts)  # type: ignore[arg-type]


def test_what_was_put_is_read_back_exactly(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(path)
    assert (journal.get("first"), journal.get("second"), len(journal)) == (FIRST, SECOND, 2)
    journal.put("first", {"kl": [math.inf], "seconds": [3.0]})
    assert Journal(path).get("first") == {"kl": [math.inf], "seconds": [3.0]}
    assert dropped(caplog) == 0


def test_the_seconds_of_earlier_measurements_count_once_where_they_are_asked_for(path: Path) -> None:
    journal = Journal(path)
    journal.put("third", FIRST)
    assert journal.get("third") == FIRST
    assert journal.earlier_seconds == 0
    assert journal.get("first") == journal.get("first") == FIRST
    assert journal.get("none") is None
    assert journal.earlier_seconds == 3.0


def test_a_journal_that_ends_anywhere_keeps_its_whole_lines(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    for end in range(start, len(content)):
        path.write_bytes(content[:end])
        journal = Journal(path)
        assert journal.get("first") == FIRST
        # Without its last byte, the end of the line, the second one is whole.
        whole = end == len(content) - 1
        assert journal.get("second") == (SECOND if whole else None)
        assert dropped(caplog) == (0 if whole or end == start else 1)
    path.write_bytes(content[: len(content) - 9])
    Journal(path).put("third", FIRST)
    again = Journal(path)
    assert (again.get("first"), again.get("second"), again.get("third")) == (FIRST, None, FIRST)
    assert dropped(caplog) > 0


def test_no_flipped_bit_changes_a_measurement(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = path.read_bytes()
    wanted = {"first": FIRST, "second": SECOND}
    for at in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[at] ^= 1 << bit
            path.write_bytes(flipped)
            journal = Journal(path)
            found = {key: measured for key in wanted if (measured := journal.get(key)) is not None}
            assert len(journal) == len(found)
            assert found == {key: wanted[key] for key in found}
            # Only the end of the last line is not needed.
            assert dropped(caplog) >= 1 or (len(found) == 2 and at == len(content) - 1)


@pytest.mark.parametrize(
    "line",
    [
        b"[]", b"1", b"null", b'"first"', b"{}", b"{", b"\0" * 40, b"\xff\xfe", b"[" * 100_000, b"9" * 5_000,
        b'{"key": "first", "kl": [1.0], "seconds": [1.0]}',  # as earlier versions wrote it
        journal_line("first", FIRST).replace(b'": ', b'":'),
        journal_line("first", FIRST) + b" ",
        *(
            journal_line(key, values)
            for key, values in [
                (1, FIRST), (None, FIRST), ("first", []), ("first", {}), ("first", {"kl": [1.0]}),
                ("first", {"kl": 1.0, "seconds": [1.0]}), ("first", {"kl": ["1"], "seconds": [1.0]}),
                ("first", {"kl": [True], "seconds": [1.0]}), ("first", {"kl": [[1.0]], "seconds": [1.0]}),
            ]
        ),
    ],
)  # fmt: skip
def test_a_line_of_another_kind_is_dropped(line: bytes, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(line + b"\n" + path.read_bytes())
    journal = Journal(path)
    assert (journal.get("first"), journal.get("second"), len(journal)) == (FIRST, SECOND, 2)
    assert dropped(caplog) == 1


def test_the_wording_of_the_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(path.read_bytes() + b"one\ntwo\n")
    with caplog.at_level(logging.WARNING, "optishear.searching"):
        Journal(path)
    assert caplog.messages == [
        f"{path}: dropped 2 of 4 lines that are damaged or incomplete; what they held is measured again"
    ]


def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.jsonl"
    names = ["one", "two", "three"]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in names]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    journal = Journal(path)
    assert len(journal) == 90
    assert journal.get("two-7") == {"kl": [7.0] * 4000, "seconds": [1.0]}
    assert dropped(caplog) == 0


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process become larger."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_line_that_cannot_be_written_whole_is_not_written(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = path.read_bytes()
    journal = Journal(path)
    with largest_file(len(content) + 20), refused(path.parent, "File too large"):
        journal.put("third", FIRST)
    assert path.read_bytes() == content
    assert journal.get("third") is None
    journal.put("third", FIRST)
    assert Journal(path).get("third") == FIRST
    assert dropped(caplog) == 0


def test_a_line_is_on_the_disk_before_the_next_measurement(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), fsync(file)))
    Journal(path).put("third", FIRST)
    assert synced == [path.stat().st_size]


def test_what_was_put_is_there_at_once_and_no_program(path: Path) -> None:
    for journal in (Journal(), Journal(path)):
        journal.put("a", {"seconds": [1.0]})
        assert journal.get("a") == {"seconds": [1.0]}
    assert not path.stat().st_mode & 0o111


def test_a_line_is_json_with_its_checksum(path: Path) -> None:
    record: dict[str, Any] = json.loads(path.read_bytes().split(b"\n")[0])
    assert record.keys() == {"key", "values", "sha256"}
    assert (record["key"], record["values"]) == ("first", FIRST)
