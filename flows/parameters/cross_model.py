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
        description="Further models, as for model, or NAME=MODEL to name it in the tables.",
    )
    universal: bool = Field(
        False,
        description="Also search a universal recipe for all models at once, and compare it with each model's own. "
        "The budget is per model: this search has the sum.",
    )
