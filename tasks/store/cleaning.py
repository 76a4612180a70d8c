"""What the home folder keeps between runs, and how it is cleared by age and size."""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from optishear.files import size_of
from optishear.home import home_folder, journals_folder
from optishear.leftovers import aside_path
from tasks.store.artifacts import artifacts_folder


@dataclass(frozen=True)
class StoredEntry:
    """One thing that is kept.

    Attributes:
        kind: the stage of an artifact, ``journal`` (a search's measurements) or ``model`` (a converted checkpoint).
        path: its file or folder.
        size: bytes on disk; a file that is linked from elsewhere counts in full.
        modified: when it was written, in seconds since the epoch.
    """

    kind: str
    path: Path
    size: int
    modified: float

    @property
    def age(self) -> float:
        """Seconds since it was written."""
        return time.time() - self.modified


def stored_entries() -> list[StoredEntry]:
    """Everything that can be computed again, the oldest first, without what is being written now."""
    stages = [folder for folder in _visible(artifacts_folder()) if folder.is_dir()]
    entries = [_describe(stage.name, path) for stage in stages for path in _visible(stage)]
    entries += [_describe("journal", path) for path in _visible(journals_folder())]
    entries += [_describe("model", path) for path in _visible(home_folder() / "models")]
    return sorted(entries, key=lambda entry: (entry.modified, str(entry.path)))


def entries_to_remove(
    entries: Iterable[StoredEntry], older_than: float | None, keep_bytes: int | None
) -> list[StoredEntry]:
    """Entries to remove: all older ones, then the oldest until the rest is small enough.

    Args:
        entries: the oldest first, as ``stored_entries`` gives it.
        older_than: seconds; no limit where not given.
        keep_bytes: how much may stay; no limit where not given.
    """
    removed: list[StoredEntry] = []
    remaining: list[StoredEntry] = []
    for entry in entries:
        (removed if older_than is not None and entry.age > older_than else remaining).append(entry)
    size = sum(entry.size for entry in remaining)
    for entry in remaining:
        if keep_bytes is None or size <= keep_bytes:
            break
        removed.append(entry)
        size -= entry.size
    return removed


def remove(entries: Iterable[StoredEntry]) -> None:
    """Remove them; a run that needs one makes it again."""
    for entry in entries:
        if entry.path.is_dir():
            # Hidden first, so that no process sees a part of it; the rest goes later where this process is killed.
            hidden = aside_path(entry.path, "partial")
            entry.path.rename(hidden)
            shutil.rmtree(hidden)
        else:
            entry.path.unlink(missing_ok=True)


def _visible(folder: Path) -> list[Path]:
    """Entries of a folder without the hidden ones: locks, and what is not whole yet."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def _describe(kind: str, path: Path) -> StoredEntry:
    return StoredEntry(kind, path, size_of(path), path.stat().st_mtime)
