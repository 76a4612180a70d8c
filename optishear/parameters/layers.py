"""Which layers are pruned."""

from typing import ClassVar

from pydantic import Field

from optishear.parameters.base import Parameters


class LayerParameters(Parameters):
    """Which of the prunable layers are pruned."""

    heading: ClassVar[str] = "Layers"

    include: list[str] = Field(
        [],
        description="Prune only layers whose name, or path in the block, matches one of these patterns, such as mlp.* "
        "or model.layers.1?.*; default: all. Routers are never pruned.",
    )
    exclude: list[str] = Field(
        [], description="Do not prune layers whose name, or path in the block, matches one of these patterns."
    )
