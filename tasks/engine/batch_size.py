"""A smaller batch where a GPU's memory was not enough."""

import logging
from collections.abc import Callable
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

# Of a pass over calibration text, to begin with.
SEQUENCES_PER_PASS = 4
Made = TypeVar("Made")
logger = logging.getLogger("optishear.stages")


def with_smaller_batches(batch_size: int, work: Callable[[int], Made]) -> Made:
    """Do the work; if memory runs out, free it and repeat the work with half the batch, down to one sequence.

    A batch's size changes the rounding of sums and nothing else, so a smaller one does not change an artifact's key: an
    evaluation has the key of the given size, and records the size that it used.

    Args:
        batch_size: sequences per forward pass to begin with.
        work: takes the batch size; after a failure it must hold no memory.

    Raises:
        torch.OutOfMemoryError: if one sequence is too much.
    """
    while True:
        try:
            return work(batch_size)
        except RuntimeError as error:
            if batch_size == 1 or not should_reduce_batch_size(error):
                raise
        batch_size //= 2
        logger.warning("Out of memory; once more with %d sequences per forward pass.", batch_size)
        clear_device_cache(garbage_collection=True)
