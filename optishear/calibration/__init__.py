"""Calibration: text in token blocks, for the statistics of the dense model."""
