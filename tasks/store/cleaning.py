"""What the home folder keeps between runs, and how it is cleared by age and size."""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from optishear.home import home_folder, journals_folder
from tasks.store.artifacts import artifacts_folder


@dataclass(frozen=True)
class Kept:
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


def kept() -> list[Kept]:
    """Everything that can be made again, the oldest first. What is being written now is left out."""
    stages = [folder for folder in _visible(artifacts_folder()) if folder.is_dir()]
    found = [_describe(stage.name, path) for stage in stages for path in _visible(stage)]
    found += [_describe("journal", path) for path in _visible(journals_folder())]
    found += [_describe("model", path) for path in _visible(home_folder() / "models")]
    return sorted(found, key=lambda each: (each.modified, str(each.path)))


def superfluous(everything: Iterable[Kept], older_than: float | None, keep_bytes: int | None) -> list[Kept]:
    """What to remove: everything older, then the oldest until the rest is small enough.

    Args:
        everything: the oldest first, as ``kept`` gives it.
        older_than: seconds; no limit where not given.
        keep_bytes: how much may stay; no limit where not given.
    """
    left = list(everything)
    removed = [each for each in left if older_than is not None and each.age > older_than]
    left = [each for each in left if each not in removed]
    size = sum(each.size for each in left)
    for each in left:
        if keep_bytes is None or size <= keep_bytes:
            break
        removed.append(each)
        size -= each.size
    return removed


def remove(things: Iterable[Kept]) -> None:
    """Remove them; a run that needs one makes it again."""
    for each in things:
        if each.path.is_dir():
            # Out of sight first, so that nobody finds half of it.
            hidden = each.path.with_name(f".{each.path.name}.removed")
            each.path.rename(hidden)
            shutil.rmtree(hidden)
        else:
            each.path.unlink(missing_ok=True)


def _visible(folder: Path) -> list[Path]:
    """Entries of a folder without the hidden ones: locks, and what is not whole yet."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def _describe(kind: str, path: Path) -> Kept:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return Kept(kind, path, sum(file.stat().st_size for file in files), path.stat().st_mtime)
