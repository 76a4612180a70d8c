"""The parameters of the flow ``export``."""

from flows.parameters.output import OutputParameters
from tasks.stages.parameters import ExportStageParameters


class ExportParameters(OutputParameters, ExportStageParameters):
    """Write a checkpoint in another format."""
