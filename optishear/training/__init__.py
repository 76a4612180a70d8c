"""Training of kept weights: shared by the tuning of blocks and the recovery of whole models."""
