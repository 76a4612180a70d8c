"""Files are whole or not there, and a copy shares nothing with its original."""

import errno
import os
from pathlib import Path

import pytest

from optishear import files
from optishear.files import copy_file, copy_files, move, write_aside
from wording import refused


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_hard_link_to_the_final_file_leaves_nothing_behind(tmp_path: Path) -> None:
    final = tmp_path / "statistics.parquet"
    final.write_bytes(b"values")
    with write_aside(final) as aside:
        os.link(final, aside)
    assert names(tmp_path) == ["statistics.parquet"]
    assert final.read_bytes() == b"values"


def test_a_folder_stays_where_another_cannot_take_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final, source = tmp_path / "model", tmp_path / "new"
    for folder in (final, source):
        folder.mkdir()
        (folder / "name.txt").write_text(folder.name)
    rename = os.rename

    def refuse(old: Path, new: Path) -> None:
        if Path(old) == source:
            raise PermissionError("refused")
        rename(old, new)

    monkeypatch.setattr(files, "exchange", lambda *_: False)
    monkeypatch.setattr(files.os, "rename", refuse)
    with pytest.raises(PermissionError):
        move(source, final)
    assert (final / "name.txt").read_text() == "model"
    assert names(tmp_path) == ["model", "new"]


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
@pytest.mark.parametrize("with_kernel", [True, False])
def test_a_copy_has_the_same_bytes_and_is_a_file_of_its_own(
    size: int, with_kernel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if not with_kernel:
        monkeypatch.setattr(files.os, "copy_file_range", refuse, raising=False)
    original, copy = tmp_path / "model.safetensors", tmp_path / "copy.safetensors"
    content = os.urandom(size)
    original.write_bytes(content)
    copy_file(original, copy)
    assert copy.read_bytes() == content
    with copy.open("r+b") as file:
        file.write(b"edited")
    assert original.read_bytes() == content


def test_a_copy_that_the_kernel_begins_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def two_bytes(read: int, written: int, _: int) -> int:
        if calls:
            raise OSError(errno.EIO, "Input/output error")
        calls.append(os.write(written, os.read(read, 2)))
        return 2

    monkeypatch.setattr(files.os, "copy_file_range", two_bytes, raising=False)
    monkeypatch.setattr(files.sys, "platform", "linux")
    (tmp_path / "original").write_bytes(b"abcdef")
    copy_file(tmp_path / "original", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"abcdef"


def test_a_folder_is_copied_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "one" / "two").mkdir(parents=True)
    (tmp_path / "one" / "two" / "file").write_text("x")
    copy_files(tmp_path / "one", tmp_path / "copy")
    assert (tmp_path / "copy" / "two" / "file").read_text() == "x"
    assert not (tmp_path / "copy" / "two" / "file").samefile(tmp_path / "one" / "two" / "file")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        # as safetensors says it
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["disk", "quota", "safetensors"],
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(error: Exception, tmp_path: Path) -> None:
    with refused(str(tmp_path)), write_aside(tmp_path / "model") as aside:
        aside.mkdir()
        (aside / "half").write_text("half")
        raise error
    assert names(tmp_path) == []


def test_another_error_is_kept(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="something else"), write_aside(tmp_path / "model"):
        raise RuntimeError("something else")
