"""The parameters of the flow ``cross-model``."""

from typing import Annotated

from pydantic import Field

from flows.parameters.matrix import MatrixParameters
from flows.parameters.search import SearchFlowParameters
from optishear.named_source import NamedModel
from optishear.parameters.roles import Role
from tasks.stages.parameters import EvaluateStageParameters


class CrossModelParameters(EvaluateStageParameters, SearchFlowParameters, MatrixParameters):
    """Apply the recipe found on each of several models to every other one."""

    other_models: Annotated[list[NamedModel], Role.MODEL] = Field(
        [],
        description="More models beside the first, as for model, or NAME=MODEL for a name of its own in the tables.",
    )
    universal: bool = Field(
        False,
        description="Also search one recipe for all models at once, and judge it beside each one's own. The "
        "budget is for one model: this search has the sum over all.",
    )
