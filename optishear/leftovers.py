"""Names of what is being written, and the removal of what killed processes have left of it."""

import hashlib
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from optishear.running import birth_of, is_running

# The final name, the machine and the process that write it, when that began, a random part, and what it is. Those of
# release 0.4 have no begin.
_NAME = re.compile(
    r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)(-(?P<birth>[0-9a-f]{8}))?-[0-9a-f]{8}"
    r"\.(partial|old|ready)",
    re.S,
)
# Of earlier releases: the name has no process.
_FORMER_NAME = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(partial|old)", re.S)
_LONGEST = 150
# A process of another machine is taken as ended where nothing has changed for so long, in seconds.
_DAYS = 30 * 86_400.0


def aside_path(final: Path, ending: str) -> Path:
    """A hidden path beside ``final`` that is named after this process.

    Args:
        final: what is written or replaced.
        ending: ``partial`` for what is being written, ``old`` for what is moved away, ``ready`` for a folder whose
            files only have to be moved to their places.
    """
    writer = f"{_machine()}-{os.getpid()}-{_digest(birth_of(os.getpid()))}"
    return final.parent / f".{_short(final.name)}.{writer}-{uuid.uuid4().hex[:8]}.{ending}"


def is_leftover_name(name: str) -> bool:
    """Whether a file or folder of this name is one of ``aside_path``, of any process."""
    return bool(_NAME.fullmatch(name) or _FORMER_NAME.fullmatch(name))


def lasting_folder(folder: Path) -> Path:
    """The folder, or the one around what is being written where it is or lies in that, which a failure removes."""
    removed = [path for path in (folder, *folder.parents) if is_leftover_name(path.name)]
    return removed[-1].parent if removed else folder


def is_alive(path: Path) -> bool:
    """Whether the process that a path of ``aside_path`` is named after may still be writing it."""
    match = _NAME.fullmatch(path.name)
    try:
        if match is None:
            return False  # earlier releases are not at work beside this one
        if match["machine"] != _machine():
            return _newest(path) > time.time() - _DAYS
        process = int(match["process"])
        if match["birth"] not in (None, _digest(birth_of(process))):
            return False  # the number is another one's now
        return process == os.getpid() or is_running(process, "")
    except OSError:  # gone meanwhile
        return True


def leftovers(folder: Path, name: str | None = None) -> list[Path]:
    """Everything in a folder that has a name of ``aside_path``.

    Args:
        folder: where it lies.
        name: only what was to become this one.
    """
    if not folder.is_dir():
        return []
    matches = ((path, _NAME.fullmatch(path.name) or _FORMER_NAME.fullmatch(path.name)) for path in folder.iterdir())
    return [path for path, match in matches if match and (name is None or match["name"] == _short(name))]


def remove_leftovers(final: Path, alone: bool = False) -> None:
    """Remove what killed processes have left beside ``final``; put back one that was moved away and not replaced.

    Args:
        final: what they were to write.
        alone: whether no other process can be writing it now, since this one holds a lock.
    """
    for path in leftovers(final.parent, final.name):
        if not alone and is_alive(path):
            continue
        with suppress(OSError):  # another process is quicker, or may do it and this one not
            if path.suffix == ".old" and not os.path.lexists(final):
                path.rename(final)
            else:
                remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _short(name: str) -> str:
    """The name, or a digest in place of one that the additions would make too long for file systems."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST else hashlib.sha256(encoded).hexdigest()


@cache
def _machine() -> str:
    """This machine, or container: where a process has its number."""
    space = ""
    with suppress(OSError):  # only Linux has it
        space = os.readlink("/proc/self/ns/pid")
    return _digest(f"{platform.node()} {space}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _newest(path: Path) -> float:
    return max(each.lstat().st_mtime for each in _within(path))


def _within(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        yield from path.rglob("*")
