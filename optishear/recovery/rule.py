"""Batch and step width of a recovery."""

from dataclasses import dataclass

# Raised whenever the rule gives other steps.
RULE_VERSION = 1
TOKENS_PER_STEP = 2048
RATE = 0.002


@dataclass(frozen=True)
class Rule:
    """How the steps are made.

    Attributes:
        sequences_per_step: token blocks of a step.
        rate: largest width of a step, as a share of the root mean square of each parameter's kept weights.
    """

    sequences_per_step: int
    rate: float


def rule_for(length: int) -> Rule:
    """The rule for blocks of a length.

    Args:
        length: tokens of a block.
    """
    return Rule(max(1, round(TOKENS_PER_STEP / length)), RATE)
