"""What a run wrote into its output folder: a hidden file, by which the next run replaces it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ValidationError

from flows.shared.folder_lock import LOCK
from optishear.errors import InputError
from optishear.file_names import COMPARISON, METRICS, RECIPE, REPORT, TRIALS
from optishear.files import write_text
from optishear.leftovers import is_leftover_name

RECORD = ".optishear-run.json"


class WrittenFile(BaseModel):
    """A file as it was written: its size in bytes and time of modification in nanoseconds."""

    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> "WrittenFile":
        """Describe a file as it is now."""
        status = path.stat()
        return cls(size=status.st_size, modified=status.st_mtime_ns)


class OutputRecord(BaseModel):
    """The files that a run wrote.

    Attributes:
        command: the name of its command.
        command_line: the whole command line.
        files: by path within the folder.
        runs: folders of further runs within it, each with a record of its own.
    """

    command: str
    command_line: str
    files: dict[str, WrittenFile] = {}
    runs: list[str] = []

    def save(self, folder: Path) -> None:
        """Write it to the folder."""
        write_text(folder / RECORD, self.model_dump_json(indent=1) + "\n")

    def is_left(self, folder: Path) -> bool:
        """Whether anything of it is still there."""
        return any((folder / name).exists() for name in (*self.files, *self.runs))


def read_record(folder: Path, output: Path | None = None) -> OutputRecord | None:
    """The record of the run that wrote into a folder last; ``None`` where nothing of it is left.

    Args:
        folder: where the record lies.
        output: where its files lie, or shall lie, beside that folder.
    """
    try:
        record = OutputRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.is_left(folder) or (output is not None and record.is_left(output)) else None


def check_record(folder: Path, record: OutputRecord | None, command: str) -> None:
    """Refuse the folder of another command's results: those would be removed, or the two would be mixed.

    Raises:
        InputError: naming the other command.
    """
    if record is not None and record.command != command:
        raise InputError(
            f"The output folder {str(folder)!r} holds the results of optishear {record.command}, which would be mixed "
            f"with those of optishear {command}; name another output folder, or remove that one."
        )


def written_files(folder: Path, names: Iterable[str]) -> dict[str, WrittenFile]:
    """The files of these names, or within the folders of these names, by their paths within ``folder``."""
    files = [
        file
        for name in names
        for file in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
    ]
    return {file.relative_to(folder).as_posix(): WrittenFile.of(file) for file in files if file.is_file()}


@dataclass(frozen=True)
class Remains:
    """The files of an output folder when results are put into it, by their paths within it.

    Attributes:
        kept: what stays: of the user, of this run, of other runs within the folder.
        folders: empty ones, which stay.
        replaced: what results of the same name take the place of.
        removed: what only an earlier run wrote.
        changed: of those kept, what an earlier run wrote and someone changed since.
        conflicts: files in place of folders of the results, and folders in place of files.
    """

    kept: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def remains_of(
    folder: Path, stage: Path, earlier: OutputRecord | None, now: OutputRecord, keeps_unknown: bool
) -> Remains:
    """What happens to each file of an output folder when those of ``stage`` are put into it.

    Args:
        folder: the output folder.
        stage: the results, with names as in the folder.
        earlier: what was written before, if the results of another run are there.
        now: what this run wrote and writes.
        keeps_unknown: whether files that no record names stay inside folders that are replaced.
    """
    remains = Remains()
    # Runs within the folder that this run does not have; the folder's own record is that of the path ".".
    former = {".": earlier} if earlier is not None else {}
    for name in set(former["."].runs if former else ()) - set(now.runs):
        record = read_record(folder / name)
        if record is not None:
            former[name] = record
    for path in _listed(folder):
        name = path.relative_to(folder).as_posix()
        run = next((run for run in sorted(former, key=len, reverse=True) if folder / run in path.parents), ".")
        within = path.relative_to(folder / run)
        if run == "." and is_leftover_name(within.parts[0]):
            continue
        if path.is_dir() and not path.is_symlink():
            if _is_file(stage / name):
                remains.conflicts.append(name)
            elif not (stage / name).exists() and not any(path.iterdir()):
                remains.folders.append(name)
        elif os.path.lexists(stage / name):
            (remains.replaced if _is_file(stage / name) else remains.conflicts).append(name)
        elif name == RECORD:
            remains.replaced.append(name)
        elif run != "." and (within.as_posix() in (RECORD, LOCK) or is_leftover_name(within.parts[0])):
            remains.removed.append(name)
        elif name in now.files:
            remains.kept.append(name)
        elif run in former and within.as_posix() in former[run].files:
            if path.exists() and WrittenFile.of(path) == former[run].files[within.as_posix()]:
                remains.removed.append(name)
            else:
                remains.kept.append(name)
                remains.changed.append(name)
        elif keeps_unknown or "/" not in name or not (stage / name.split("/")[0]).is_dir():
            remains.kept.append(name)
        else:
            remains.removed.append(name)
    return remains


def _listed(folder: Path) -> list[Path]:
    """Everything in a folder, without following links to folders."""
    return [
        Path(parent) / name for parent, folders, files in os.walk(folder) for name in (*sorted(folders), *sorted(files))
    ]


def _is_file(path: Path) -> bool:
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir())


def unknown_results(folder: Path, record: OutputRecord) -> list[str]:
    """Results of a release that wrote no record, by their names, which this run does not replace."""
    names = (TRIALS, COMPARISON, REPORT, METRICS, RECIPE)
    return [name for name in names if name not in record.files and (folder / name).is_file()]
