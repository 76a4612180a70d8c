"""The embedded default's folder: what is kept between runs when no server is configured."""

import os
from contextlib import suppress
from pathlib import Path

from optishear.errors import InputError

# Limits of Linux file systems in bytes. Files that are written aside have longer names than the final ones, and folders
# have files in them.
_LONGEST_NAME = 200
_LONGEST_PATH = 3500


def expand_home(path: str) -> str:
    """The path with the home folder of the user in place of a leading ``~``, or of another user for ``~NAME``.

    Raises:
        ValueError: if there is no such user, or no file can have the path.
    """
    _check_path(path)
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError(f"there is no user {path[1:].split('/')[0]!r}; write ./{path} for a name that begins with ~")
    return expanded


def _check_path(path: str) -> None:
    """Refuse a path that a file system refuses, each in another place and with another error."""
    if "\0" in path:
        raise ValueError("a path cannot have the character NUL in it")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8; rename the file or the folder") from None
    longest = max(path.split("/"), key=_bytes)
    if _bytes(longest) > _LONGEST_NAME:
        raise ValueError(f"the name {longest[:20] + '...'!r} has {_bytes(longest)} bytes, more than {_LONGEST_NAME}")
    if _bytes(path) > _LONGEST_PATH:
        raise ValueError(f"it has {_bytes(path)} bytes, more than the {_LONGEST_PATH} of a path")


def _bytes(text: str) -> int:
    return len(text.encode("utf-8"))


def home_folder() -> Path:
    """``OPTISHEAR_HOME``, else ``.optishear`` in the user's home folder.

    Raises:
        InputError: if ``OPTISHEAR_HOME`` begins with ``~`` and the name of no user.
    """
    value = os.environ.get("OPTISHEAR_HOME")
    if not value:
        return Path.home() / ".optishear"
    try:
        return Path(expand_home(value))
    except ValueError as error:
        raise InputError(f"OPTISHEAR_HOME cannot be {value!r}: {error}.") from None


def journals_folder() -> Path:
    """Where the journals of searches lie. A folder of the name that they had before version 0.2 is renamed once."""
    folder = home_folder() / "journals"
    former = home_folder() / "ledgers"
    if former.is_dir() and not folder.exists():
        with suppress(OSError):  # another process was quicker
            former.rename(folder)
    return folder


def recoveries_folder() -> Path:
    """Where the states of unfinished recoveries lie."""
    return home_folder() / "recoveries"
