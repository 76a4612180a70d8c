"""How far a pruned model's outputs are from the dense model's: the model-wise reconstruction error."""
