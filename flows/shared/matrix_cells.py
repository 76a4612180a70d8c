"""Cells of a matrix: each is made of cached tasks, so that a lost one loses no other and is made again alone."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field

from optishear.errors import IncompleteError, first_line
from optishear.evidence.matrix import NO_SCORES, Cell, Scores
from tasks.store.artifacts import Artifact

logger = logging.getLogger("optishear.stages")


@dataclass(frozen=True)
class Cells:
    """What became of the cells.

    Attributes:
        made: the artifact of each cell that was made.
        failures: the reason for each other one.
    """

    made: dict[Cell, Artifact] = field(default_factory=dict)
    failures: dict[Cell, str] = field(default_factory=dict)

    def raise_if_incomplete(self, scores: Scores = NO_SCORES) -> None:
        """End the flow as failed where cells or their scores are missing; for after the others have been laid out.

        Args:
            scores: of the cells that were made.

        Raises:
            IncompleteError: naming the first.
        """
        failures = {**self.failures, **scores.failures}
        if failures:
            (row, column), reason = next(iter(failures.items()))
            total = len(self.made) + len(self.failures)
            raise IncompleteError(
                f"{len(failures)} of {total} cells failed, the first {row} × {column} ({reason}); the others are "
                "laid out, and the same command makes only what failed."
            )


def make_cells(cells: Mapping[Cell, Callable[[], Artifact]], parallel: int = 1) -> Cells:
    """Make each cell; one that fails is noted and the others are made all the same.

    Args:
        cells: what makes each cell. What several need, such as a search, is a cached stage inside of them.
        parallel: how many at a time, in threads of this process. Stages that are placed on workers run there side by
            side; those of this process run one after the other.
    """
    outcome = Cells()
    if parallel == 1 or len(cells) == 1:
        results = [_try(cell, make) for cell, make in cells.items()]
    else:
        with ThreadPoolExecutor(parallel, thread_name_prefix="cells") as threads:
            # Prefect knows the flow that a task belongs to by the context.
            futures = [threads.submit(copy_context().run, _try, cell, make) for cell, make in cells.items()]
            results = [future.result() for future in futures]
    for cell, result in zip(cells, results, strict=True):
        if isinstance(result, Artifact):
            outcome.made[cell] = result
        else:
            outcome.failures[cell] = result
    return outcome


def _try(cell: Cell, make: Callable[[], Artifact]) -> Artifact | str:
    try:
        return make()
    except Exception as error:  # whatever it is, the other cells are worth having
        reason = first_line(error)
        logger.error("%s × %s failed: %s", *cell, reason)
        return reason
