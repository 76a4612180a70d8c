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
        description="Where stages that need a GPU run: in_process, or deployments on the Prefect work pool gpu (shard "
        "for device shard); auto: the pool if the server of PREFECT_API_URL has it.",
    )
