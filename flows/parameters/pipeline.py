"""The parameters of the flow ``pipeline``."""

from flows.parameters.prune_and_evaluate import PruneAndEvaluateParameters
from flows.parameters.search import SearchFlowParameters
from optishear.parameters.time_split import TimeParameters


class PipelineParameters(TimeParameters, PruneAndEvaluateParameters, SearchFlowParameters):
    """Everything, from the dense model to its pruned, evaluated and registered version."""
