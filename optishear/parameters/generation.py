"""Text generation."""

from typing import ClassVar

from pydantic import Field

from optishear.parameters.base import Parameters, Positive
from optishear.parameters.model import ModelParameters


class GenerationParameters(Parameters):
    """What to generate."""

    heading: ClassVar[str] = "Generation"

    prompt: str = Field("The", description="Text to continue.")
    new_tokens: Positive = Field(32, description="Number of tokens; fewer if the text ends before.")
    sparse_layers: bool = Field(True, description="Use the sparse kernels of the device for pruned layers.")


class GenerateParameters(GenerationParameters, ModelParameters):
    """Let a model continue a text."""
