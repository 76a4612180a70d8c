"""The calibration text."""

from typing import Annotated, ClassVar

from pydantic import Field

from optishear.parameters.base import Positive
from optishear.parameters.bos import BosParameters
from optishear.parameters.paths import Source
from optishear.parameters.roles import Role


class CalibrationParameters(BosParameters):
    """The text that the dense model's activations are observed on."""

    heading: ClassVar[str] = "Calibration"

    calibration: Annotated[Source, Role.TEXT] = Field(
        "self",
        description="Source of the text: self (sampled from the model), hub:NAME[/CONFIG], or a .txt, "
        ".jsonl or .parquet file.",
    )
    sequences: Positive = Field(32, description="Number of calibration sequences.")
    sequence_length: Annotated[Positive, Field(ge=8)] = Field(512, description="Tokens per calibration sequence.")
