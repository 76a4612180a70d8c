"""Matrices of evidence: scores of recipes, ratios or metrics applied to other models, texts or metrics."""
