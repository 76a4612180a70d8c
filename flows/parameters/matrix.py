"""How the cells of a matrix are computed."""

from typing import Annotated, ClassVar

from pydantic import Field

from optishear.parameters.base import Parameters, Positive
from optishear.parameters.roles import Role


class MatrixParameters(Parameters):
    """How the cells of a matrix are computed."""

    heading: ClassVar[str] = "Matrix"

    parallel_cells: Annotated[Positive, Role.PLACE] = Field(
        1,
        description="Cells processed at a time; their stages run in parallel on workers, but not in one process.",
    )
