"""Locks between all processes of one home folder; the operating system frees those of a killed process."""

from filelock import FileLock

from optishear.home import home_folder


def home_lock(name: str) -> FileLock:
    """A lock, to be held as a context; not by who holds it already.

    Args:
        name: what it protects.
    """
    folder = home_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")
