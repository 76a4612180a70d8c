"""The parameters of the flow ``nightly``."""

from pathlib import Path

from pydantic import Field

from optishear.parameters.paths import LocalPath
from tasks.engine.parameters import PlacementParameters


class NightlyParameters(PlacementParameters):
    """Several pipelines in one night."""

    plan: LocalPath = Field(
        Path("configurations/nightly.yaml"),
        description="YAML file with `runs`, a list of parameters of `run`, and `defaults` for all of them.",
    )
