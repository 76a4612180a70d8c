"""Text → token blocks: what the dense model is observed on."""
