"""How far a recovery is through its budget of time, of tokens, or of both."""

from dataclasses import dataclass
from typing import Self

from optishear.parameters.recovery import RecoveryParameters


@dataclass(frozen=True)
class Budget:
    """What a recovery may use.

    Attributes:
        seconds: time, including that of the checks; ``None`` for any.
        tokens: tokens to train on; ``None`` for any number.
    """

    seconds: float | None
    tokens: int | None

    @classmethod
    def of(cls, parameters: RecoveryParameters) -> Self:
        """The budget that the parameters name."""
        duration = parameters.recovery_budget
        return cls(duration.seconds if duration is not None else None, parameters.recovery_tokens)

    def progress(self, seconds: float, tokens: int) -> float:
        """The used share, 1 where it is used up; of two limits the one that is nearer."""
        shares = [0.0]
        if self.seconds is not None:
            shares.append(seconds / self.seconds)
        if self.tokens is not None:
            shares.append(tokens / self.tokens)
        return min(1.0, max(shares))

    def tokens_at_end(self, tokens: int, seconds: float) -> int:
        """The expected number of tokens at the end, if the rest is as fast as the first ones were."""
        share = self.progress(seconds, tokens)
        return tokens if share == 0 else round(tokens / share)
