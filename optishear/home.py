"""The embedded default's folder: what is kept between runs when no server is configured."""

import os
from contextlib import suppress
from pathlib import Path


def home_folder() -> Path:
    """``OPTISHEAR_HOME``, else ``.optishear`` in the user's home folder."""
    return Path(os.environ.get("OPTISHEAR_HOME") or Path.home() / ".optishear")


def journals_folder() -> Path:
    """Where the journals of searches lie. A folder of the name that they had before version 0.2 is renamed once."""
    folder = home_folder() / "journals"
    former = home_folder() / "ledgers"
    if former.is_dir() and not folder.exists():
        with suppress(OSError):  # another process was quicker
            former.rename(folder)
    return folder
