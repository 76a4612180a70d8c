"""Batch, step width and checks of a recovery."""

import math
from dataclasses import dataclass

# Raised whenever the rule gives other steps.
RULE_VERSION = 2
# At 65,000 tokens, steps over 512, 1,024 and 2,048 tokens were compared; ``docs/recovery.md`` has the figures.
_TOKENS_PER_ROOT = 0.75
RATE = 0.001
# A check takes about as long as training on a quarter of the blocks that are held out, so few blocks have few checks.
_BLOCKS_PER_CHECK = 16
_FEWEST_CHECKS, _MOST_CHECKS = 4, 20
# A check that is worse than the best one by this share means that the steps are too wide.
WORSE = 0.01


@dataclass(frozen=True)
class Rule:
    """How the steps are made.

    Attributes:
        sequences_per_step: token blocks of a step.
        rate: largest width of a step, as a share of the root mean square of each parameter's kept weights.
        checks: number of equal shares of the budget after each of which the held-out divergence is measured.
    """

    sequences_per_step: int
    rate: float
    checks: int


def rule_for(tokens: int, length: int) -> Rule:
    """The rule for a budget: both the number of steps and their batch grow with the root of the tokens.

    Args:
        tokens: to train on.
        length: tokens of a block.
    """
    sequences = round(_TOKENS_PER_ROOT * math.sqrt(tokens) / length)
    checks = round(tokens / length / _BLOCKS_PER_CHECK)
    return Rule(max(1, sequences), RATE, min(_MOST_CHECKS, max(_FEWEST_CHECKS, checks)))
