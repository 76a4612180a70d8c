"""Files that are either whole or not there: write aside, then rename."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from optishear.errors import InputError

_BIG = {".safetensors", ".parquet"}


@contextmanager
def write_aside(final: Path) -> Iterator[Path]:
    """Yield a path beside ``final`` to write a file or a folder to, and move it to ``final`` at the end.

    When the body raises, what it wrote is removed and ``final`` is untouched. An existing file is replaced
    in one step; an existing folder is moved away first, since a folder cannot be renamed over another.

    Raises:
        InputError: if the parent folder cannot be made or written.
    """
    final = Path(final)
    ensure_writable(final.parent)
    aside = final.parent / f".{final.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        yield aside
        if aside.is_dir() and final.is_dir():
            old = final.parent / f".{final.name}.{uuid.uuid4().hex[:8]}.old"
            os.rename(final, old)
            os.rename(aside, final)
            shutil.rmtree(old)
        else:
            os.replace(aside, final)
    except BaseException:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
        raise


def ensure_writable(folder: Path) -> Path:
    """Make ``folder`` and check that a file can be written in it.

    Raises:
        InputError: if it cannot, naming the folder.
    """
    probe = folder / f".{uuid.uuid4().hex}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"The folder {str(folder)!r} cannot be written ({error.strerror or error}); name one that you may write to."
        ) from None
    return folder


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Make a big file a hard link, where the file system allows it, and a small one a copy, free to be edited."""
    if Path(source).suffix in _BIG:
        with suppress(OSError):  # another device, or a file system without hard links
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
