"""Matrices of evidence: what one thing is worth in place of another, cell by cell."""
