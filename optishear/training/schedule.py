"""What training sees, what decides whether it helped, and how large its steps are."""

import math

# One sequence in so many is held out of training. Two of 32 were seen to say nothing of what hundreds of others gained.
ONE_IN = 8


def held_out(sequences: int) -> int:
    """How many of so many sequences are held out of training: at least one, but none of a single one."""
    return 0 if sequences < 2 else max(1, sequences // ONE_IN)


def rate_at(rate: float, progress: float, warmup: float = 0.1) -> float:
    """A step width that rises linearly over the first steps and falls to zero with the cosine.

    Args:
        rate: its maximum.
        progress: share of the steps that are over, in [0, 1).
        warmup: share of the steps in which it rises.
    """
    if progress < warmup:
        return rate * progress / warmup
    return rate * (0.5 + 0.5 * math.cos(math.pi * (progress - warmup) / (1 - warmup)))
