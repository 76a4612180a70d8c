"""Divergence of a pruned model's outputs from the dense model's."""
