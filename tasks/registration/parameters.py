"""What the pruned model is registered as."""

import re
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.roles import Role
from tasks.tracking.parameters import LONGEST_NAME


class RegistryParameters(Parameters):
    """What the pruned model is registered as, and what makes it the champion."""

    heading: ClassVar[str] = "Registry"

    registered_model: Annotated[str | None, Role.PLACE] = Field(
        None,
        description="Name of the registered model, to which the sparsity is appended; default: the dense model's.",
    )
    champion_max_perplexity_increase: Annotated[Annotated[float, Field(ge=0)] | None, Role.PLACE] = Field(
        None,
        description="Limit in percent of a champion's perplexity above the dense model's; default: no limit.",
    )
    champion_max_task_drop: Annotated[Annotated[float, Field(ge=0)] | None, Role.PLACE] = Field(
        None,
        description="Limit in points of a champion's mean task score below the dense model's; default: no limit.",
    )

    @field_validator("registered_model")
    @classmethod
    def _valid_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w. -]*\w[\w. -]*", value):
            raise ValueError("use letters, digits, spaces, dots, dashes and underscores")
        if value is not None and len(value) > LONGEST_NAME:
            raise ValueError(f"it has {len(value)} characters, more than the {LONGEST_NAME} that MLflow's database has")
        return value


class RegisterModelParameters(RegistryParameters, ModelParameters):
    """What the registration of a pruned model reads."""
