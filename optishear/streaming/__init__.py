"""Models that are larger than memory: one decoder block at a time is read from the checkpoint, used and let go."""
