"""The types of parameters that name files and folders: a leading ``~`` is the user's home folder.

A shell expands ``--output ~/x`` but not ``--output=~/x``, and nothing expands the values of a YAML file.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from optishear.home import expand_home

# A file or a folder.
LocalPath = Annotated[Path, AfterValidator(lambda path: Path(expand_home(str(path))))]
# A file or a folder, or a name of another kind: a hub id, a published recipe, the address of a server.
Source = Annotated[str, AfterValidator(expand_home)]
