"""The parameters of the flow ``statistics``."""

from flows.parameters.calibrate import CalibrateParameters


class StatisticsParameters(CalibrateParameters):
    """Observe the dense model's activations on the calibration text."""
