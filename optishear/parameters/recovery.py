"""Recovery of the whole pruned model."""

from typing import Annotated, ClassVar

from pydantic import Field

from optishear.named_source import NamedSource
from optishear.parameters.base import Parameters, Positive, Rate
from optishear.parameters.roles import Role
from optishear.units import Duration


class RecoveryParameters(Parameters):
    """How the kept weights of the whole model are trained towards the dense model's outputs."""

    heading: ClassVar[str] = "Recovery"

    recovery_budget: Duration | None = Field(
        None,
        description="Time to train all kept weights together, such as 8h; default: no limit if recovery_tokens is "
        "given, otherwise no recovery.",
    )
    recovery_tokens: Positive | None = Field(
        None,
        description="Tokens to train on. With tokens instead of a time, a repeated run gives the same weights.",
    )
    recovery_texts: Annotated[list[NamedSource], Role.TEXT] = Field(
        [],
        description="Texts to train on, as NAME=SOURCE, used in turn; default: the source of the calibration text.",
    )
    recovery_sequences: Positive | None = Field(
        None,
        description="Sequences of one training step, each of sequence_length tokens; default: by a rule from the "
        "budget, whose steps may be shorter.",
    )
    recovery_rate: Rate | None = Field(
        None,
        description="Largest step, relative to the size of a layer's weights; default: by a rule from the divergence "
        "before.",
    )
    recovery_gpus: Positive = Field(
        1,
        description="GPUs that share the sequences of a training step, with the result of one; each holds both models.",
    )

    @property
    def recovers(self) -> bool:
        """Whether the model is recovered."""
        return self.recovery_budget is not None or self.recovery_tokens is not None
