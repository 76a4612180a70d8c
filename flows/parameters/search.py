"""The parameters of the flow ``search``."""

from flows.parameters.statistics import StatisticsParameters
from tasks.stages.parameters import SearchStageParameters
from tasks.tracking.parameters import TrackedParameters


class SearchFlowParameters(SearchStageParameters, StatisticsParameters, TrackedParameters):
    """Search the pruning recipe."""
