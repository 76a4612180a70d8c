"""Where the results are written."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from optishear.parameters.base import Parameters
from optishear.parameters.paths import LocalPath
from optishear.parameters.roles import Role


class OutputParameters(Parameters):
    """Where the results are written."""

    heading: ClassVar[str] = "Output"

    output: Annotated[LocalPath, Role.PLACE] = Field(Path("optishear-output"), description="Folder for the results.")
