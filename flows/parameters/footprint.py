"""What is measured of a model beside its scores."""

from typing import ClassVar

from pydantic import Field

from optishear.parameters.base import Parameters


class FootprintParameters(Parameters):
    """What is measured of a model beside its scores."""

    heading: ClassVar[str] = "Footprint"

    footprint: bool = Field(
        True, description="Measure bytes on disk, bytes in memory and decoding speed, in each format."
    )
