"""Batch and step width of a recovery."""

import math
from dataclasses import dataclass

# Raised whenever the rule gives other steps.
RULE_VERSION = 1
# At 65,000 tokens, steps over 512, 1,024 and 2,048 tokens were compared; ``docs/recovery.md`` has the figures.
_TOKENS_PER_ROOT = 0.75
RATE = 0.001


@dataclass(frozen=True)
class Rule:
    """How the steps are made.

    Attributes:
        sequences_per_step: token blocks of a step.
        rate: largest width of a step, as a share of the root mean square of each parameter's kept weights.
    """

    sequences_per_step: int
    rate: float


def rule_for(tokens: int, length: int) -> Rule:
    """The rule for a budget: both the number of steps and their batch grow with the root of the tokens.

    Args:
        tokens: to train on.
        length: tokens of a block.
    """
    return Rule(max(1, round(_TOKENS_PER_ROOT * math.sqrt(tokens) / length)), RATE)
