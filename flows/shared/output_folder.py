"""How results are laid out in the output folder."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from optishear.files import ensure_writable, link_or_copy, write_aside


@contextmanager
def output_folder(output: Path) -> Iterator[Path]:
    """Make the folder and check that it can be written; where the body fails, what was made for nothing goes again.

    Raises:
        InputError: if the folder cannot be written.
    """
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        yield ensure_writable(output)
    except BaseException:
        for folder in made:
            with suppress(OSError):  # not empty, or never made
                folder.rmdir()
        raise


def place_files(output: Path, files: Mapping[str, Path]) -> None:
    """Put artifacts' files and folders into the output folder, each whole or not at all.

    Big files are hard links to the store, where the file system allows it, so that a checkpoint lies on the disk
    once. Small ones are copies, free to be edited.

    Args:
        output: the folder.
        files: for each name within it, the file or folder to put there.
    """
    for name, source in files.items():
        with write_aside(output / name) as aside:
            if source.is_dir():
                shutil.copytree(source, aside, copy_function=link_or_copy)
            else:
                link_or_copy(source, aside)
