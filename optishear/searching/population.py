"""Measure the candidates of one generation on several workers at a time.

Candidates go to whichever worker is free, the first ones first, and results are given in the order of the candidates:
what a search does with them cannot depend on the number of workers. A worker that is lost gives its candidate back.
"""

import heapq
import logging
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from typing import Protocol

from optishear.errors import InputError, first_line
from optishear.searching.measuring import Measured, Work

logger = logging.getLogger("optishear.searching")


class WorkerLost(Exception):
    """A worker is gone, with what it was measuring; the message says how."""


class Worker(Protocol):
    """Measures candidates one after the other, on a model of its own.

    Attributes:
        name: in messages.
    """

    name: str

    def measure(self, work: Work) -> list[Measured]:
        """The results of the parts of one candidate; called by one thread at a time.

        Raises:
            WorkerLost: if the worker is gone.
        """
        ...


class Population:
    """Workers that share the candidates of a generation."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        """Store the workers; they must give the same values for the same work."""
        self._workers = list(workers)
        self._count = len(workers)

    def measure(self, works: Sequence[Work]) -> Generator[list[Measured], None, None]:
        """The results of each work, in order, each as soon as it and those before it are there.

        Closing the generator drops what no worker has begun, and waits for what was.

        Raises:
            InputError: if all workers are lost.
        """
        if not works:
            return
        if not self._workers:
            raise self._all_lost()
        batch = _Batch(works)
        with ThreadPoolExecutor(len(self._workers), thread_name_prefix="worker") as threads:
            try:
                for worker in tuple(self._workers):
                    threads.submit(self._serve, worker, batch)
                for result in batch.results:
                    yield result.result()
            finally:
                batch.close()

    def _serve(self, worker: Worker, batch: "_Batch") -> None:
        """Let one worker measure until nothing is left of a batch, or the worker is lost."""
        while (index := batch.take()) is not None:
            try:
                measured = worker.measure(batch.works[index])
            except WorkerLost as error:
                self._workers.remove(worker)
                logger.warning("%s was lost (%s); %d are left", worker.name, first_line(error), len(self._workers))
                batch.give_back(index)
                if not self._workers:
                    batch.fail(self._all_lost())
                return
            except BaseException as error:
                batch.results[index].set_exception(error)
            else:
                batch.results[index].set_result(measured)
            batch.done()

    def _all_lost(self) -> InputError:
        return InputError(
            f"All {self._count} workers of the search were lost; what was measured is kept, so repeat the command, "
            "with fewer workers if the memory was too small."
        )


class _Batch:
    """The work of one generation, and who has it.

    Attributes:
        works: in the order of the candidates.
        results: of each work.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        self.works = works
        self.results: list[Future[list[Measured]]] = [Future() for _ in works]
        # A heap: what a lost worker gives back is the first to be measured again, since the search waits for it.
        self._waiting = list(range(len(works)))
        self._running = 0
        self._changed = Condition()

    def take(self) -> int | None:
        """The first work that nobody has; waits while there is none and another worker could still give one back."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._running)
            if not self._waiting:
                return None
            self._running += 1
            return heapq.heappop(self._waiting)

    def give_back(self, index: int) -> None:
        """Leave a work to another worker."""
        with self._changed:
            heapq.heappush(self._waiting, index)
            self._running -= 1
            self._changed.notify_all()

    def done(self) -> None:
        """Say that a work has its result."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """Give all works that nobody has an error as their result."""
        with self._changed:
            for index in self._waiting:
                self.results[index].set_exception(error)
            self._waiting.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Drop all works that nobody has."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()
