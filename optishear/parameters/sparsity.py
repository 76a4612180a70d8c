"""The target sparsity."""

from typing import ClassVar

from pydantic import Field

from optishear.parameters.layers import LayerParameters
from optishear.pattern import Pattern


class ChannelParameters(LayerParameters):
    """The order of channels in which weights are pruned."""

    heading: ClassVar[str] = "Sparsity"

    permute_channels: bool = Field(
        False,
        description="For N:M: reorder channels inside MLPs and value heads, whose order is free, so that less is lost. "
        "The dense model computes the same, and the checkpoint is a plain one.",
    )


class SparsityParameters(ChannelParameters):
    """How much to prune, and in which pattern."""

    heading: ClassVar[str] = "Sparsity"

    sparsity: Pattern = Field(
        "0.5",
        validate_default=True,
        description="A fraction such as 0.5 (within each row), or N:M such as 2:4.",
    )
