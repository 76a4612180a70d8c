"""The embedded default's folder: what is kept between runs when no server is configured."""

import os
from pathlib import Path


def home_folder() -> Path:
    """``OPTISHEAR_HOME``, else ``.optishear`` in the user's home folder."""
    return Path(os.environ.get("OPTISHEAR_HOME") or Path.home() / ".optishear")
