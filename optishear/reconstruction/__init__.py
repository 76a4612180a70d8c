"""Reconstruction: better values for the weights that pruning keeps."""
