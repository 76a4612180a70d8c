"""The parameters that the flows share which prune, evaluate and register a model."""

from flows.parameters.footprint import FootprintParameters
from flows.parameters.statistics import StatisticsParameters
from tasks.registration.parameters import RegisterModelParameters
from tasks.stages.parameters import EvaluateStageParameters, ReconstructStageParameters, RecoverStageParameters
from tasks.tracking.parameters import TrackedParameters


class PruneAndEvaluateParameters(
    ReconstructStageParameters,
    RecoverStageParameters,
    EvaluateStageParameters,
    FootprintParameters,
    StatisticsParameters,
    TrackedParameters,
    RegisterModelParameters,
):
    """Prune by a recipe, evaluate beside the dense model and beside Wanda, and register."""
