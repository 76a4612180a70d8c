"""Sparsity ratios of the layers by other published methods, to stand beside the searched ones."""
