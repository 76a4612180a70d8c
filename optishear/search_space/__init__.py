"""The space that is searched: genes, and the candidate that they decode to."""
