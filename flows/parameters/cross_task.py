"""The parameters of the flow ``cross-task``."""

from typing import Annotated

from pydantic import Field

from flows.parameters.matrix import MatrixParameters
from flows.parameters.search import SearchFlowParameters
from optishear.named_source import NamedSource
from optishear.parameters.roles import Role
from tasks.stages.parameters import HoldOutStageParameters


class CrossTaskParameters(HoldOutStageParameters, SearchFlowParameters, MatrixParameters):
    """Apply the recipe found on each of several calibration texts, and evaluate it on every other text."""

    other_calibrations: Annotated[list[NamedSource], Role.TEXT] = Field(
        [], description="Further texts as NAME=SOURCE; recipes are searched and evaluated on each."
    )
