"""The parameters of the flow ``statistics``."""

from flows.parameters.calibrate import CalibrateParameters
from tasks.engine.parameters import PlacementParameters


class StatisticsParameters(CalibrateParameters, PlacementParameters):
    """Observe the dense model's activations on the calibration text."""
