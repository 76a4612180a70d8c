"""Model → scores: perplexity, benchmark tasks, and the comparison of several models."""
