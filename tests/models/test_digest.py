import hashlib
import json
import os
from pathlib import Path

import pytest

from optishear.models import digest
from optishear.models.digest import digest_of_file


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read in full; every file counts as big."""
    seen: list[Path] = []

    def read(path: Path) -> str:
        seen.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(digest, "sha256_of_file", read)
    monkeypatch.setattr(digest, "_BIG_BYTES", 0)
    return seen


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    return path


def test_is_the_sha256_of_the_bytes(file: Path) -> None:
    assert digest_of_file(file) == hashlib.sha256(b"abc").hexdigest()


def test_reads_a_big_file_once(file: Path, reads: list[Path]) -> None:
    assert digest_of_file(file) == digest_of_file(file) == hashlib.sha256(b"abc").hexdigest()
    assert len(reads) == 1


def test_remembers_nothing_of_a_small_file(file: Path, home: Path) -> None:
    digest_of_file(file)

    assert not home.exists()


def test_reads_again_what_has_changed(file: Path, reads: list[Path]) -> None:
    digest_of_file(file)
    file.write_bytes(b"abd")
    os.utime(file, ns=(1, 1))

    assert digest_of_file(file) == hashlib.sha256(b"abd").hexdigest()
    assert len(reads) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"a": 1}'])
def test_outlives_a_broken_memory(file: Path, reads: list[Path], home: Path, content: str) -> None:
    home.mkdir()
    (home / "digests.json").write_text(content)

    assert digest_of_file(file) == hashlib.sha256(b"abc").hexdigest()
    digest_of_file(file)
    assert len(reads) == 1


@pytest.mark.parametrize("entry", [None, "x", [], [3], {"size": 3}])
def test_outlives_a_broken_entry(file: Path, reads: list[Path], home: Path, entry: object) -> None:
    home.mkdir()
    (home / "digests.json").write_text(json.dumps({str(file): entry}))

    assert digest_of_file(file) == hashlib.sha256(b"abc").hexdigest()


def test_keeps_what_others_remembered(file: Path, reads: list[Path], home: Path, tmp_path: Path) -> None:
    digest_of_file(file)
    other = tmp_path / "other"
    other.write_bytes(b"x")
    digest_of_file(other)

    assert set(json.loads((home / "digests.json").read_text())) == {str(file), str(other)}


def test_works_without_a_home_that_can_be_written(
    file: Path, reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTISHEAR_HOME", str(file))  # a file, so nothing can be written below it

    assert digest_of_file(file) == hashlib.sha256(b"abc").hexdigest()
