"""What a recovery did."""

from dataclasses import dataclass

from optishear.recovery.curve import CurvePoint


@dataclass(frozen=True)
class RecoverySummary:
    """What a recovery did.

    Attributes:
        before: held-out divergence of the pruned model, mean KL per token in nats.
        after: of the recovered one; equal where no check was better than the start, which then stays.
        tokens: trained on.
        steps: of the optimizer.
        sequences_per_step: sequences of a step.
        step_length: tokens of each.
        rate: largest width of a step, before it was halved.
        halvings: how often the width was halved, since the held-out divergence had risen.
        seconds: of all, with the checks.
        curve: the checks.
    """

    before: float
    after: float
    tokens: int
    steps: int
    sequences_per_step: int
    step_length: int
    rate: float
    halvings: int
    seconds: float
    curve: tuple[CurvePoint, ...]

    @property
    def in_words(self) -> str:
        """The training as a part of a sentence; empty where the weights stayed as they were."""
        if self.after >= self.before:
            return ""
        return f"training of all kept weights on the dense model's next-token distributions ({self.tokens:,} tokens)"
