"""The output folder: create it, check it, and lay out results in it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.parameters.export import ExportParameters
from flows.parameters.output import OutputParameters
from optishear.errors import InputError
from optishear.file_names import CHECKPOINT
from optishear.files import copy_files, ensure_writable, write_aside
from optishear.formats.stored import open_checkpoint, stored_format
from optishear.parameters.sparsity import SparsityParameters
from optishear.pruning.checkpoint import check_replaceable
from tasks.store.model_sources import find_model


@contextmanager
def output_folder(output: Path) -> Iterator[Path]:
    """Make the folder and check that it can be written; if the body fails, new empty folders are removed.

    Raises:
        InputError: if the folder cannot be written.
    """
    missing = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        yield ensure_writable(output)
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # not empty, or never made
                folder.rmdir()
        raise


def place_files(output: Path, files: Mapping[str, Path]) -> None:
    """Put artifacts' files and folders into the output folder, each completely or not at all.

    They are copies, free to be edited. On file systems with reflinks these take no space of their own.

    Args:
        output: the folder.
        files: for each name within it, the file or folder to put there.
    """
    for name, source in files.items():
        with write_aside(output / name) as aside:
            copy_files(source, aside)


def check_checkpoint(parameters: OutputParameters, _: SparsityParameters) -> None:
    """Refuse to replace a folder that is not a checkpoint by the pruned checkpoint.

    Raises:
        InputError: names the folder.
    """
    check_replaceable(parameters.output / CHECKPOINT)


def check_export(parameters: ExportParameters) -> None:
    """Refuse a missing checkpoint, and an export that would replace the checkpoint itself.

    Raises:
        InputError: names the checkpoint or the folder.
    """
    source, target = find_model(parameters.model), parameters.output / CHECKPOINT
    if target.exists() and target.samefile(source.location):
        raise InputError(
            f"The checkpoint {parameters.model!r} would be replaced by its own export; name another output folder."
        )
    if source.gguf is None and source.revision is None:
        open_checkpoint(source.location)
    if stored_format(target) != "bitmask":
        check_replaceable(target)
