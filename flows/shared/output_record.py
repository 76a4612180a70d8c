"""What a run wrote into its output folder: a hidden file, by which the next run replaces it."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from optishear.errors import InputError
from optishear.file_names import COMPARISON, METRICS, RECIPE, REPORT, TRIALS
from optishear.files import write_text

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


def read_record(folder: Path) -> OutputRecord | None:
    """The record of the run that wrote into a folder last; ``None`` where nothing of it is left."""
    try:
        record = OutputRecord.model_validate_json((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
    return record if record.is_left(folder) else None


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


def remove_earlier(folder: Path, earlier: OutputRecord, now: OutputRecord) -> tuple[list[Path], list[Path]]:
    """Remove what an earlier run wrote and this one does not.

    Args:
        folder: the output folder.
        earlier: what was written before.
        now: what is written by this run.

    Returns:
        The files that were removed, and those that stay because they have been changed since.
    """
    removed, changed = [], []
    for name, file in earlier.files.items():
        path = folder / name
        if name in now.files or not path.is_file():
            continue
        if WrittenFile.of(path) == file:
            path.unlink()
            _remove_empty(path.parent, folder)
            removed.append(path)
        else:
            changed.append(path)
    for name in set(earlier.runs) - set(now.runs):
        record = read_record(folder / name)
        if record is not None:
            for paths, more in zip((removed, changed), _remove_all(folder / name, record), strict=True):
                paths += more
    return removed, changed


def unknown_results(folder: Path, record: OutputRecord) -> list[str]:
    """Results of a release that wrote no record, by their names, which this run does not replace."""
    names = (TRIALS, COMPARISON, REPORT, METRICS, RECIPE)
    return [name for name in names if name not in record.files and (folder / name).is_file()]


def _remove_all(folder: Path, record: OutputRecord) -> tuple[list[Path], list[Path]]:
    removed, changed = remove_earlier(folder, record, OutputRecord(command="", command_line=""))
    (folder / RECORD).unlink()
    with suppress(OSError):  # not empty
        folder.rmdir()
    return removed, changed


def _remove_empty(folder: Path, top: Path) -> None:
    with suppress(OSError):  # not empty
        while folder != top:
            folder.rmdir()
            folder = folder.parent
