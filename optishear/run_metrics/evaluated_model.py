"""One model of a run: its scores, its zeros and its footprint."""

import math

from pydantic import Field

from optishear.evaluation.evaluate import Evaluation
from optishear.evaluation.harness import failure_of, measures_of
from optishear.inference.footprint import Footprint


class EvaluatedModel(Evaluation):
    """An evaluation, and what else was measured of the model.

    Attributes:
        sparsity: fraction of zeros over the weights of the prunable layers; ``None`` where there are no such layers.
        sparsity_of_all_matrices: fraction of zeros over all matrices of the decoder blocks; ``None`` likewise.
        masking_seconds: what masking the weights took; ``None`` for a model that was evaluated as it was loaded.
        footprint: by format, ``dense`` or ``bitmask``; empty where it was not measured.
    """

    sparsity: float | None = None
    sparsity_of_all_matrices: float | None = None
    masking_seconds: float | None = None
    footprint: dict[str, Footprint] = Field(default_factory=dict)

    @property
    def failed_tasks(self) -> list[str]:
        """The tasks that have no scores, because they failed."""
        return [task for task, result in self.tasks.items() if failure_of(result) is not None]

    def finite_scores(self) -> dict[str, float]:
        """The scores that are finite numbers, under names such as ``perplexity``, ``sparsity`` and ``boolq/acc``."""
        scores = {name: getattr(self, name) for name in ("perplexity", "sparsity", "sparsity_of_all_matrices")}
        for task, result in self.tasks.items():
            scores |= {f"{task}/{metric}": measure["value"] for metric, measure in measures_of(result).items()}
        return {name: value for name, value in scores.items() if value is not None and math.isfinite(value)}


def footprint_numbers(footprint: dict[str, Footprint]) -> dict[str, float]:
    """The numbers of footprints by format, under names such as ``bitmask/disk_bytes``."""
    return {
        f"{format}/{name}": value
        for format, of_format in footprint.items()
        for name, value in of_format.model_dump(exclude={"device"}, exclude_none=True).items()
    }
