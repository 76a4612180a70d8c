"""The parameters of the flow ``prune``."""

from flows.parameters.recipe import RecipeParameters
from flows.parameters.statistics import StatisticsParameters
from optishear.parameters.sparsity import SparsityParameters
from tasks.stages.parameters import ReconstructStageParameters, RecoverStageParameters


class PruneParameters(
    RecipeParameters, SparsityParameters, ReconstructStageParameters, RecoverStageParameters, StatisticsParameters
):
    """Apply a recipe and save the pruned checkpoint."""
