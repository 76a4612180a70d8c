"""The parameters that the flows share which prune, evaluate and register a model."""

from flows.parameters.footprint import FootprintParameters
from flows.parameters.statistics import StatisticsParameters
from optishear.parameters.comparison import ComparisonParameters
from tasks.registration.parameters import RegisterModelParameters
from tasks.stages.parameters import EvaluateStageParameters, ReconstructStageParameters, RecoverStageParameters
from tasks.tracking.parameters import TrackedParameters


class PruneAndEvaluateParameters(
    ReconstructStageParameters,
    RecoverStageParameters,
    EvaluateStageParameters,
    ComparisonParameters,
    FootprintParameters,
    StatisticsParameters,
    TrackedParameters,
    RegisterModelParameters,
):
    """Prune by a recipe, evaluate beside the dense model, Wanda and SparseGPT, and register."""

    @property
    def with_sparsegpt(self) -> bool:
        """Whether SparseGPT is compared, too."""
        return self.compares_sparsegpt(self.reconstructs or self.recovers)
