"""The search space: genomes, and the candidates that they decode to."""
