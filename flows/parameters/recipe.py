"""The recipe to apply."""

from typing import Annotated, ClassVar

from pydantic import Field

from optishear.parameters.base import Parameters
from optishear.parameters.paths import Source
from optishear.parameters.roles import Role


class RecipeParameters(Parameters):
    """A recipe to apply."""

    heading: ClassVar[str] = "Recipe"

    recipe: Annotated[Source, Role.TEXT] = Field(
        "wanda",
        description="A recipe file, or a published recipe: magnitude, wanda, ria, pruner_zero.",
    )
