"""The parameters of the flow ``calibrate``."""

from flows.parameters.output import OutputParameters
from tasks.stages.parameters import CalibrateStageParameters


class CalibrateParameters(OutputParameters, CalibrateStageParameters):
    """Cut calibration text into token blocks."""
