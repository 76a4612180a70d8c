"""Recipes: a pruning strategy as a small YAML file, and the sparsity ratio of each layer in it."""
