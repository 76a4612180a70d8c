"""The output folder changes as a whole or not at all.

The results of a run are written aside, with links to all that stays, and the two folders are exchanged in one step.
Where that cannot be done, because the folder is a mount point for one, the results are moved to their places one by
one; a run that is killed meanwhile leaves them in a folder of the ending ``ready``, and the next run moves the rest.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.shared.output_record import RECORD, OutputRecord, Remains, read_record, remains_of
from optishear.errors import InputError
from optishear.exchange import exchange, is_exchangeable
from optishear.files import move, removed_after_failure
from optishear.leftovers import aside_path, is_alive, is_leftover_name, leftovers, remove, remove_leftovers

_RESULTS = "results"


@contextmanager
def staged(folder: Path, needed: int | None = None) -> Iterator[Path]:
    """An empty folder on the file system of ``folder``, to write results to; it is gone at the end.

    Args:
        folder: the output folder, with symbolic links followed.
        needed: bytes of the results, to be named where the disk is full.

    Raises:
        InputError: if the disk is full.
    """
    beside = is_exchangeable(folder) and not any(is_alive(path) for path in leftovers(folder))
    aside = aside_path(folder if beside else folder / _RESULTS, "partial")
    with removed_after_failure(aside, needed):
        aside.mkdir()
        yield aside
        if aside.exists():
            remove(aside)


def lay_out(folder: Path, stage: Path, earlier: OutputRecord | None, now: OutputRecord, keeps_unknown: bool) -> Remains:
    """Put everything in ``stage`` into ``folder``, and remove what only the run before wrote.

    Args:
        folder: the output folder, held by this process.
        stage: what ``staged`` gave, filled.
        earlier: what the run before wrote, if its results are still there.
        now: what this run wrote and writes.
        keeps_unknown: whether files that no record names stay inside folders that are replaced.

    Returns:
        What stayed of the folder, and what did not.

    Raises:
        InputError: if a file would take the place of a folder, or a folder that of a file.
    """
    remains = remains_of(folder, stage, earlier, now, keeps_unknown)
    for name in remains.conflicts:
        raise InputError(
            f"The result {name!r} cannot be written, since {str(folder / name)!r} is "
            f"{'a folder' if (folder / name).is_dir() else 'a file'}; move it away, or name another output folder."
        )
    now.save(stage)
    if stage.parent == folder.parent and _exchanged(folder, stage, remains):
        _keep_new(stage, folder, remains)
        return remains
    ready = aside_path(folder / _RESULTS, "ready")
    os.rename(stage, ready)
    _move_all(folder, ready, remains)
    return remains


def recover_layout(folder: Path) -> None:
    """Finish what a killed process began to lay out, and remove what else it left.

    Args:
        folder: the output folder, held by this process.
    """
    remove_leftovers(folder, alone=True)
    for path in leftovers(folder):
        # Only a run that holds the folder writes results in it; others may hold folders within it.
        if not path.name.startswith(f".{_RESULTS}.") and is_alive(path):
            continue
        now = read_record(path, folder) if path.suffix == ".ready" else None
        if now is not None:
            # The former record is replaced last: it still says what the run before wrote.
            earlier = read_record(folder)
            _move_all(folder, path, remains_of(folder, path, earlier, now, earlier is not None))
        else:
            with suppress(OSError):
                remove(path)


def _exchanged(folder: Path, stage: Path, remains: Remains) -> bool:
    """Whether the stage has taken the place of the folder, with links to all that stays; else nothing has changed."""
    linked: list[Path] = []
    try:
        for name in remains.folders:
            _make_folder(stage, name, folder)
        for name in remains.kept:
            _make_folder(stage, Path(name).parent.as_posix(), folder)
            os.link(folder / name, stage / name, follow_symlinks=False)
            linked.append(stage / name)
        shutil.copystat(folder, stage)
        if exchange(folder, stage):
            return True
    except OSError:  # a file system without links, or a file of another user
        pass
    for path in linked:
        path.unlink()
    return False


def _make_folder(stage: Path, name: str, source: Path) -> None:
    """Make a folder of the source in the stage, as it is in the source."""
    if (stage / name).is_dir():
        return
    _make_folder(stage, Path(name).parent.as_posix(), source)
    (stage / name).mkdir()
    shutil.copystat(source / name, stage / name)


def _keep_new(former: Path, folder: Path, remains: Remains) -> None:
    """Move what came into the former folder, or changed there, since it was listed."""
    listed = {*remains.kept, *remains.removed, *remains.replaced}
    for path in sorted(former.rglob("*")):
        name = path.relative_to(former).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        is_new = name not in listed and not is_leftover_name(Path(name).parts[0])
        if is_new or (name in remains.kept and not _same(path, folder / name)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, folder / name)


def _same(first: Path, second: Path) -> bool:
    return second.exists() and os.path.samestat(first.lstat(), second.lstat())


def _move_all(folder: Path, ready: Path, remains: Remains) -> None:
    """Move everything in ``ready`` to its place, the record last; repeated after a kill, it does the rest."""
    names = sorted(path.name for path in ready.iterdir() if path.name != RECORD)
    for name in remains.kept:
        if Path(name).parts[0] in names and not os.path.lexists(ready / name):
            _make_folder(ready, Path(name).parent.as_posix(), folder)
            _link_or_copy(folder / name, ready / name)
    for name in names:
        move(ready / name, folder / name)
    for name in remains.removed:
        (folder / name).unlink(missing_ok=True)
        _remove_empty((folder / name).parent, folder)
    move(ready / RECORD, folder / RECORD)
    remove(ready)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _remove_empty(folder: Path, top: Path) -> None:
    with suppress(OSError):  # not empty
        while folder != top:
            folder.rmdir()
            folder = folder.parent
