"""The parameters of the flow ``calibrate``."""

from flows.parameters.output import OutputParameters
from tasks.engine.parameters import PlacementParameters
from tasks.stages.parameters import CalibrateStageParameters


class CalibrateParameters(OutputParameters, CalibrateStageParameters, PlacementParameters):
    """Cut calibration text into token blocks."""
