"""The parameters of the flow ``evaluate``."""

from flows.parameters.footprint import FootprintParameters
from flows.parameters.output import OutputParameters
from tasks.stages.parameters import EvaluateStageParameters
from tasks.tracking.parameters import TrackedParameters


class EvaluateParameters(OutputParameters, EvaluateStageParameters, FootprintParameters, TrackedParameters):
    """Evaluate one model."""
