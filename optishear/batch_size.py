"""Batches that shrink where a device's memory runs out."""

import functools
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from optishear.errors import InputError, first_line

Result = TypeVar("Result")
logger = logging.getLogger("optishear")


class DoesNotFit(InputError):
    """The smallest batch needs more memory than the device has."""


class BatchSize:
    """How many sequences are computed together; halved where memory runs out, and it stays so.

    A batch's size changes the rounding of sums and nothing else.

    Attributes:
        size: of the next batch.
    """

    def __init__(self, size: int, item: str = "sequence", of: str = "forward pass") -> None:
        """Begin with a size.

        Args:
            size: at least 1.
            item: what a batch consists of, for the log.
            of: what takes a batch, for the log.
        """
        self.size = size
        self._item, self._of = item, of

    def run(self, work: Callable[[int], Result], most: int | None = None) -> Result:
        """Do the work; if memory runs out, free it and repeat the work with half the size, down to 1.

        Args:
            work: takes the size. After a failure it holds no memory, and can be repeated.
            most: upper limit of the size for this work, such as the number of sequences that there are.

        Raises:
            DoesNotFit: if the size is 1 and memory runs out.
        """
        while True:
            size = self.size if most is None else min(self.size, most)
            try:
                return work(size)
            except RuntimeError as error:
                if not (isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)):
                    raise
                reason = first_line(error)
            # The error is gone here, and with it the tensors of the failed work.
            clear_device_cache(garbage_collection=True)
            if size == 1:
                raise DoesNotFit(
                    f"The memory is too small for a {self._of} with one {self._item} ({reason}); free some, give a "
                    "dtype of 16 bits or shorter sequences, or take a device with more memory."
                )
            self.size = size // 2
            items = self._item if self.size == 1 else f"{self._item}s"
            logger.warning("Out of memory; repeated with %d %s per %s.", self.size, items, self._of)

    def each(self, count: int, work: Callable[[slice], Result]) -> Iterator[Result]:
        """Do the work on one batch after another; where memory runs out, that batch is repeated with half of it.

        Args:
            count: number of sequences.
            work: takes the places of a batch's sequences; as for ``run``.

        Yields:
            The results, in order.

        Raises:
            DoesNotFit: as for ``run``.
        """
        start = 0
        while start < count:
            batch, result = self.run(functools.partial(_part, work, start), count - start)
            yield result
            start = batch.stop


def _part(work: Callable[[slice], Result], start: int, size: int) -> tuple[slice, Result]:
    batch = slice(start, start + size)
    return batch, work(batch)
