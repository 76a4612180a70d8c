"""Where runs are registered in MLflow."""

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.paths import Source
from optishear.parameters.roles import Role

# Characters of a name in the columns of MLflow's database, less what is appended to that of a registered model.
LONGEST_NAME = 200


class TrackingParameters(Parameters):
    """Where runs are registered."""

    heading: ClassVar[str] = "Tracking"

    experiment: Annotated[str, Role.PLACE] = Field("optishear", description="MLflow experiment.")
    tracking_uri: Annotated[Source | None, Role.PLACE] = Field(
        None,
        description="MLflow server or database; default: MLFLOW_TRACKING_URI, else SQLite in OPTISHEAR_HOME.",
    )

    @field_validator("experiment")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("an experiment has a name; leave the parameter out for optishear")
        if len(value) > LONGEST_NAME:
            raise ValueError(f"it has {len(value)} characters, more than the {LONGEST_NAME} that MLflow's database has")
        return value


class TrackedParameters(TrackingParameters, ModelParameters):
    """What a flow that is an MLflow run takes at least."""
