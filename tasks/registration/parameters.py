"""What the pruned model is registered as."""

import re
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.roles import Role


class RegistryParameters(Parameters):
    """What the pruned model is registered as, and what makes it the champion."""

    heading: ClassVar[str] = "Registry"

    registered_model: Annotated[str | None, Role.PLACE] = Field(
        None,
        description="Name to register the pruned model under, with the sparsity behind it; the dense model's where not "
        "given.",
    )
    champion_max_perplexity_increase: Annotated[Annotated[float, Field(ge=0)] | None, Role.PLACE] = Field(
        None,
        description="Percent that a champion's perplexity may be over the dense model's; no limit where not given.",
    )
    champion_max_task_drop: Annotated[Annotated[float, Field(ge=0)] | None, Role.PLACE] = Field(
        None,
        description="Points that a champion's mean over the tasks may be under the dense model's; no limit where not "
        "given.",
    )

    @field_validator("registered_model")
    @classmethod
    def _valid_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w. -]*\w[\w. -]*", value):
            raise ValueError("use letters, digits, spaces, dots, dashes and underscores")
        return value


class RegisterModelParameters(RegistryParameters, ModelParameters):
    """What the registration of a pruned model reads."""
