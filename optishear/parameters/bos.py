"""Where token blocks have the tokenizer's beginning-of-sequence token."""

from typing import ClassVar, Literal

from pydantic import Field

from optishear.parameters.base import Parameters

Bos = Literal["each-window", "text-start"]


class BosParameters(Parameters):
    """Where calibration sequences and evaluation windows have the beginning-of-sequence token."""

    heading: ClassVar[str] = "Tokens"

    bos: Bos = Field(
        "each-window",
        description="Where the beginning-of-sequence token goes, if the tokenizer adds one. each-window: before every "
        "calibration sequence and evaluation window, which some models, such as Gemma, need; text-start: only before "
        "a text, as in the papers on LLaMA.",
    )
