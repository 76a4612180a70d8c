"""How results are laid out in the output folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from optishear.files import copy_files, ensure_writable, write_aside


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

    They are copies, free to be edited. On file systems with reflinks these take no space of their own.

    Args:
        output: the folder.
        files: for each name within it, the file or folder to put there.
    """
    for name, source in files.items():
        with write_aside(output / name) as aside:
            copy_files(source, aside)
