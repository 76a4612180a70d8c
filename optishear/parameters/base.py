"""What all parameter groups have in common.

Each field is at the same time a key of the YAML file, a flag of the command line (``search_sequences`` is
``--search-sequences``), a parameter of the Prefect flows and a param of the MLflow run.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from optishear.parameters.former_names import current_names

Positive = Annotated[int, Field(ge=1)]


class Parameters(BaseModel):
    """Base of all groups: immutable, and an unknown key is an error rather than a silent default.

    Attributes:
        heading: what the fields that a group defines are listed under in the help of a command.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    heading: ClassVar[str] = "General"

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        return current_names(values, cls.model_fields) if isinstance(values, Mapping) else values
