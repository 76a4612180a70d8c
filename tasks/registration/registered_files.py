"""The files of a registered version: copies that are read-only, and known by their digest."""

import stat
from pathlib import Path

from optishear.errors import InputError
from optishear.file_names import CHECKPOINT
from optishear.files import copy_file, copy_files, sha256_of_file, write_aside
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest


def digest_of_files(folder: Path) -> str:
    """One digest over the names and the bytes of all files in a folder; each file is read."""
    return digest(
        {
            path.relative_to(folder).as_posix(): sha256_of_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    )


def digest_of_checkpoint(checkpoint: Artifact) -> str:
    """The same digest of a stage's checkpoint, from its record: of the bytes that the stage wrote."""
    names = {Path(name): file.sha256 for name, file in checkpoint.outputs.items()}
    return digest(
        {
            name.relative_to(CHECKPOINT).as_posix(): sha256
            for name, sha256 in names.items()
            if name.parts[0] == CHECKPOINT
        }
    )


def place_checkpoint(checkpoint: Artifact, place: Path) -> None:
    """Copy a checkpoint to where a version's files are kept, if it is not there; the copies are read-only.

    Versions before 0.4 had hard links to the store there. These become copies.
    """
    if place.exists():
        for path in _files(place):
            if path.stat().st_nlink > 1:
                with write_aside(path) as aside:
                    copy_file(path, aside)
                    _make_read_only(aside)
        return
    with write_aside(place) as aside:
        copy_files(checkpoint.path(CHECKPOINT), aside)
        for path in _files(aside):
            _make_read_only(path)


def check_files(place: Path, expected: str, subject: str) -> None:
    """Refuse files that are not those that were registered.

    Args:
        place: the folder.
        expected: the digest at registration.
        subject: the version, for the message.

    Raises:
        InputError: if a file is missing, was added or has other bytes.
    """
    if not place.is_dir():
        raise InputError(f"The files of {subject} are not in {str(place)!r}; repeat the run that registered it.")
    if digest_of_files(place) != expected:
        raise InputError(
            f"The files of {subject} in {str(place)!r} were changed since it was registered; remove that folder, and "
            "repeat the run that registered it."
        )


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _make_read_only(path: Path) -> None:
    path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
