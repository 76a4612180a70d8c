"""What is measured of an export."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from optishear.parameters.base import Parameters, at_most
from optishear.parameters.roles import Role

# Beyond any context, and the time of a coffee.
_MOST_TOKENS, _MOST_ROUNDS = 8192, 100


class ProveParameters(Parameters):
    """An export, and what to measure of it."""

    heading: ClassVar[str] = "Proof"

    folder: Annotated[Path, Role.FOLDER] = Field(
        Path("model"), description="Folder of the export: what optishear export wrote, or the folder model/ in it."
    )
    prompt_tokens: Annotated[int, Field(ge=8), at_most(_MOST_TOKENS)] = Field(
        128, description="Tokens of the prompt that is timed, and of the comparison of the outputs."
    )
    new_tokens: Annotated[int, Field(ge=4), at_most(_MOST_TOKENS)] = Field(
        32, description="Tokens that are decoded one by one in each round."
    )
    rounds: Annotated[int, Field(ge=1), at_most(_MOST_ROUNDS)] = Field(
        3, description="Rounds of the timing, the export and its dense form in turn; the fastest of each counts."
    )
