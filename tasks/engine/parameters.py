"""Where the stages run that need a GPU."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from optishear.parameters.base import Parameters
from optishear.parameters.roles import Role


class PlacementParameters(Parameters):
    """Where the stages run that need a GPU."""

    heading: ClassVar[str] = "Placement"

    placement: Annotated[Literal["auto", "in_process", "deployments"], Role.PLACE] = Field(
        "auto",
        description="Where the stages run that need a GPU: in_process, or deployments on the Prefect work pool gpu; "
        "auto: the pool, where PREFECT_API_URL names a server that has one.",
    )
