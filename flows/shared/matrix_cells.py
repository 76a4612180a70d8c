"""Cells of a matrix: each consists of cached tasks, so a failed cell affects no other and is repeated alone."""

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
    """The outcome of the cells.

    Attributes:
        artifacts: the artifact of each cell that was computed.
        failures: the reason for each failed cell.
    """

    artifacts: dict[Cell, Artifact] = field(default_factory=dict)
    failures: dict[Cell, str] = field(default_factory=dict)

    def raise_if_incomplete(self, scores: Scores = NO_SCORES) -> None:
        """End the flow as failed if cells or their scores are missing; call it after the others are laid out.

        Args:
            scores: of the computed cells.

        Raises:
            IncompleteError: naming the first.
        """
        failures = {**self.failures, **scores.failures}
        if failures:
            (row, column), reason = next(iter(failures.items()))
            total = len(self.artifacts) + len(self.failures)
            raise IncompleteError(
                f"{len(failures)} of {total} cells failed, the first {row} × {column} ({reason}); the others are "
                "laid out, and the same command makes only what failed."
            )


def make_cells(cells: Mapping[Cell, Callable[[], Artifact]], parallel: int = 1) -> Cells:
    """Compute each cell; a failed one is recorded and the others continue.

    Args:
        cells: a function that computes each cell. Work that several share, such as a search, is a cached stage in them.
        parallel: number of cells at a time, in threads of this process. Stages on workers run in parallel; those of
            this process run one after the other.
    """
    outcome = Cells()
    if parallel == 1 or len(cells) == 1:
        results = [_try(cell, make) for cell, make in cells.items()]
    else:
        with ThreadPoolExecutor(parallel, thread_name_prefix="cells") as threads:
            # Prefect finds the flow of a task by the context.
            futures = [threads.submit(copy_context().run, _try, cell, make) for cell, make in cells.items()]
            results = [future.result() for future in futures]
    for cell, result in zip(cells, results, strict=True):
        if isinstance(result, Artifact):
            outcome.artifacts[cell] = result
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
