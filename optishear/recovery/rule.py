"""Batch, step width and checks of a recovery."""

import math
from dataclasses import dataclass

# Raised whenever the rule gives other steps.
RULE_VERSION = 4
# Steps of 128, 256, 512, 1,024 and 2,048 tokens were compared; ``docs/recovery.md`` has the figures.
_TOKENS_PER_ROOT = 0.4
# Shorter steps were not compared. By PyTorch, an update of the weights takes as long as the gradient of so many tokens.
_SHORTEST = 128
# The largest width, and the divergence at the start, in nats per token, from which it is used. ``docs/recovery.md`` has
# the comparison: where less is to be gained, wide steps first lose some of it.
RATE = 0.001
_FULL_RATE_FROM = 1.0
# A check takes about as long as training on a quarter of the tokens that are held out, so small budgets have few.
_BLOCKS_PER_CHECK = 16
_FEWEST_CHECKS, _MOST_CHECKS = 4, 20
# A check that is worse than the best one by this share means that the steps are too wide.
WORSE = 0.01


@dataclass(frozen=True)
class Rule:
    """How the steps are made.

    Attributes:
        sequences_per_step: sequences of a step.
        step_length: tokens of each.
        rate: largest width of a step, as a share of the root mean square of each parameter's kept weights.
        checks: number of equal shares of the budget after each of which the held-out divergence is measured.
    """

    sequences_per_step: int
    step_length: int
    rate: float
    checks: int

    @property
    def tokens_per_step(self) -> int:
        """Tokens of a step."""
        return self.sequences_per_step * self.step_length


def rule_for(tokens: int, length: int, sequences: int | None = None, divergence: float = math.inf) -> Rule:
    """The rule for a budget: both the number of steps and their tokens grow with the root of the budget.

    Steps of fewer tokens than ``length`` are made on shorter sequences, whose length is a power of two.

    Args:
        tokens: to train on.
        length: tokens of the longest sequence.
        sequences: of a step, each of ``length`` tokens, in place of the rule's.
        divergence: of the pruned model at the start, on what is held out, in nats per token; for the rate alone.
    """
    in_step = _TOKENS_PER_ROOT * math.sqrt(tokens)
    step_length = min(length, max(_SHORTEST, 2 ** round(math.log2(in_step))))
    checks = round(tokens / length / _BLOCKS_PER_CHECK)
    return Rule(
        sequences_per_step=sequences or max(1, round(in_step / step_length)),
        step_length=length if sequences else step_length,
        rate=RATE * min(1.0, divergence / _FULL_RATE_FROM),
        checks=min(_MOST_CHECKS, max(_FEWEST_CHECKS, checks)),
    )
