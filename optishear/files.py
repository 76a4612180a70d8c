"""Files that are either whole or not there: write aside, then rename."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from optishear.disk import disk_full, is_disk_full, not_writable, write_error
from optishear.exchange import exchange
from optishear.leftovers import aside_path, remove, remove_leftovers

_COPIED_AT_ONCE = 2**30
_BUFFER = 2**20
# Linux's FICLONE.
_SHARE_BLOCKS = 0x40049409


@contextmanager
def write_aside(final: Path, alone: bool = False) -> Iterator[Path]:
    """Yield a path beside ``final`` to write a file or a folder to, and move it to ``final`` at the end.

    When the body raises, what it wrote is removed and ``final`` is untouched. An existing file or folder is replaced
    in one step where the system can do that. What killed processes have left of the same is removed first.

    Args:
        final: the file or folder.
        alone: whether no other process can be writing it now, since this one holds a lock.

    Raises:
        InputError: if the parent folder cannot be made or written, or the disk is full.
    """
    final = Path(final)
    ensure_writable(final.parent)
    remove_leftovers(final, alone)
    aside = aside_path(final, "partial")
    with removed_after_failure(aside):
        yield aside
        move(aside, final)


@contextmanager
def removed_after_failure(aside: Path, needed: int | None = None) -> Iterator[None]:
    """Remove what the body writes to ``aside`` where it raises.

    Args:
        aside: the file or folder.
        needed: bytes of it, where that is known.

    Raises:
        InputError: if the disk is full, or the folder of ``aside`` has gone.
    """
    try:
        yield
    except BaseException as error:
        with suppress(OSError):
            remove(aside)
        if is_disk_full(error):
            raise disk_full(aside.parent, error, needed) from error
        if isinstance(error, OSError) and not aside.parent.exists():
            raise write_error(aside.parent, error) from error
        raise


def move(source: Path, final: Path) -> None:
    """Move a file or a folder to ``final``, replacing an existing one; if that fails, the existing one stays.

    Both have to be on one file system. Where the system cannot exchange two folders in one step, an existing folder is
    moved away first, and back if the move fails.
    """
    if not (source.is_dir() and final.is_dir()):
        os.replace(source, final)
        # Nothing is renamed where both are hard links to one file.
        source.unlink(missing_ok=True)
        return
    if exchange(source, final):
        remove(source)
        return
    old = aside_path(final, "old")
    os.rename(final, old)
    try:
        os.rename(source, final)
    except BaseException:
        os.rename(old, final)
        raise
    remove(old)


def ensure_writable(folder: Path) -> Path:
    """Make ``folder`` and check that a file can be written in it.

    Raises:
        InputError: if it cannot, or the disk is full, naming the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # It has no name where the system can do that, so that nothing is left of it.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise not_writable(folder, error) from None
    return folder


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copy the bytes of a file.

    File systems with reflinks (Btrfs, XFS) share the blocks of the two until one of them is edited, so that the copy
    takes no space. It is never a hard link: an edit in place would change both.
    """
    with Path(source).open("rb", buffering=0) as read, Path(target).open("wb", buffering=0) as written:
        if sys.platform == "linux":
            with suppress(OSError):  # between two file systems, or one that cannot
                while os.copy_file_range(read.fileno(), written.fileno(), _COPIED_AT_ONCE):
                    pass
        # The rest, which is everything where nothing was copied above.
        shutil.copyfileobj(read, written, _BUFFER)


def copy_files(source: Path, target: Path) -> None:
    """Copy a file, or a folder with all files in it, as ``copy_file`` does."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=copy_file)
    else:
        copy_file(source, target)


def copies_take_no_space(source: Path, target: Path) -> bool:
    """Whether a file that is copied from one folder to the other shares its blocks, as on Btrfs and XFS."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        with tempfile.TemporaryFile(dir=source) as read, tempfile.TemporaryFile(dir=target) as written:
            read.write(bytes(_BUFFER))
            read.flush()
            fcntl.ioctl(written.fileno(), _SHARE_BLOCKS, read.fileno())
    except OSError:
        return False
    return True


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
