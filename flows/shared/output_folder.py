"""The output folder of a run: whose it is, and how results are laid out in it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.parameters.export import ExportParameters
from flows.parameters.output import OutputParameters
from flows.parameters.sweep import SweepParameters, pipelines_of
from flows.shared.folder_lock import LOCK, locked
from flows.shared.output_inputs import check_output
from flows.shared.output_layout import lay_out, recover_layout, staged
from flows.shared.output_record import (
    RECORD,
    OutputRecord,
    Remains,
    check_record,
    read_record,
    unknown_results,
    written_files,
)
from optishear.disk import check_disk
from optishear.file_names import CHECKPOINT
from optishear.files import copies_take_no_space, copy_files, ensure_writable, size_of
from optishear.formats.stored import open_checkpoint, stored_format
from optishear.home import home_folder
from optishear.json_file import write_json
from optishear.parameters.sparsity import SparsityParameters
from optishear.pruning.checkpoint import check_replaceable
from optishear.report.reproduce import command_line
from optishear.serving.export import GGUF_FILE
from tasks.store.model_sources import find_model

logger = logging.getLogger("optishear.stages")


@dataclass
class _OpenFolder:
    """A folder that this run holds.

    Attributes:
        path: with symbolic links followed.
        earlier: what the run before wrote; ``None`` once that is replaced.
        record: what this run has written so far.
        has_results: whether that is anything.
    """

    path: Path
    earlier: OutputRecord | None
    record: OutputRecord
    has_results: bool = False


_open: ContextVar[tuple[_OpenFolder, ...]] = ContextVar("open", default=())


@contextmanager
def output_folder(command: str, parameters: OutputParameters) -> Iterator[Path]:
    """Hold the output folder of a run; where the body fails, folders that were made for nothing go again.

    A command and its flow are one run: what is held already is given again. A sweep also holds the folders of its
    sparsities.

    Args:
        command: the name of the command.
        parameters: of its flow.

    Raises:
        InputError: if the folder is, contains or lies inside something that the run reads, cannot be written, is being
            written by another run, or holds the results of another command.
    """
    output = parameters.output
    if _find(output) is not None:
        yield output
        return
    check_output(parameters)
    cells = pipelines_of(parameters).values() if isinstance(parameters, SweepParameters) else ()
    folders: dict[Path, tuple[str, OutputParameters]] = {
        output: (command, parameters),
        **{each.output: ("run", each) for each in cells},
    }
    made = [path for folder in folders for path in (folder, *folder.parents) if not path.exists()]
    try:
        with ExitStack() as held:
            opened = [held.enter_context(_hold(folder, *run)) for folder, run in folders.items()]
            token = _open.set((*_open.get(), *opened))
            try:
                yield output
            finally:
                _open.reset(token)
    finally:
        # The innermost first. A sparsity that failed leaves none, nor one whose earlier results were removed.
        for path in sorted({*made, *(each.output for each in cells)}, key=lambda path: -len(path.parts)):
            with suppress(OSError):  # not empty, or never made
                path.rmdir()


@contextmanager
def _hold(folder: Path, command: str, parameters: OutputParameters) -> Iterator[_OpenFolder]:
    words = command_line(command, parameters)
    ensure_writable(folder)
    with locked(folder, " ".join(line.strip(" \\") for line in words.splitlines())):
        recover_layout(folder.resolve())
        earlier = read_record(folder)
        check_record(folder, earlier, command)
        yield _OpenFolder(folder.resolve(), earlier, OutputRecord(command=command, command_line=words))


def place_files(output: Path, files: Mapping[str, Path], documents: Mapping[str, Any] | None = None) -> None:
    """Put files and folders into the output folder: all of them in one step, or none where one cannot be written.

    They are copies, free to be edited. On file systems with reflinks these take no space of their own. What the run
    before wrote is replaced as a whole: its files of other names are removed, unless they were changed since. All else
    that lies in the folder stays.

    Args:
        output: the folder, held by ``output_folder``.
        files: for each name within it, the file or folder to put there.
        documents: for each name of a further JSON file, its content.

    Raises:
        InputError: if the disk is full, or a folder lies where a file is to be written.
    """
    folder = _find(output)
    if folder is None:
        raise RuntimeError(f"The folder {str(output)!r} is not held by this run.")
    needed = sum(map(size_of, files.values()))
    if not copies_take_no_space(home_folder(), folder.path):
        check_disk(output, needed, "A copy of the results")
    with staged(folder.path, needed) as stage:
        for name, source in files.items():
            copy_files(source, stage / name)
        for name, value in (documents or {}).items():
            write_json(stage / name, value)
        written = written_files(stage, sorted(path.name for path in stage.iterdir()))
        now = folder.record.model_copy(update={"files": {**folder.record.files, **written}})
        known = folder.earlier is not None or folder.has_results
        remains = lay_out(folder.path, stage, folder.earlier, now, keeps_unknown=known)
    folder.record = now
    for outer in _open.get():
        if outer is not folder and folder.path.is_relative_to(outer.path):
            _note_run(outer, folder.path.relative_to(outer.path).as_posix())
    _report(folder, remains)
    folder.earlier, folder.has_results = None, True


def _note_run(outer: _OpenFolder, run: str) -> None:
    """Let the record around a run name it at once: a sweep may be killed before it writes files of its own.

    What the run before wrote there stays in the record until it is replaced.
    """
    outer.record.runs = sorted({*outer.record.runs, run})
    on_disk = outer.earlier if outer.earlier is not None else outer.record
    on_disk.model_copy(update={"runs": sorted({*on_disk.runs, run})}).save(outer.path)


def _find(output: Path) -> _OpenFolder | None:
    path = output.resolve()
    return next((folder for folder in _open.get() if folder.path == path), None)


def _report(folder: _OpenFolder, remains: Remains) -> None:
    """Log what happened to files that are not of this run."""
    if folder.earlier is not None:
        removed = [name for name in remains.removed if Path(name).name not in (RECORD, LOCK)]
        if removed:
            logger.info("%s: removed %s of an earlier run", folder.path, _names(removed))
        if remains.changed:
            logger.warning(
                "%s: kept %s of an earlier run, which was changed since; it does not belong to these results",
                folder.path,
                _names(remains.changed),
            )
    elif not folder.has_results and (unknown := unknown_results(folder.path, folder.record)):
        logger.warning("%s: %s is not of this run, but was there before", folder.path, ", ".join(unknown))


def _names(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def check_checkpoint(parameters: OutputParameters, _: SparsityParameters) -> None:
    """Refuse to replace a folder that is not a checkpoint by the pruned checkpoint.

    Raises:
        InputError: names the folder.
    """
    check_replaceable(parameters.output / CHECKPOINT)


def check_export(parameters: ExportParameters) -> None:
    """Refuse a missing checkpoint, and an export that would replace something else.

    Raises:
        InputError: names the checkpoint or the folder.
    """
    source, target = find_model(parameters.model), parameters.output / CHECKPOINT
    if source.gguf is None and source.revision is None:
        open_checkpoint(source.location)
    if stored_format(target) != "bitmask" and not (target / GGUF_FILE).is_file():
        check_replaceable(target)
