"""Recovery: training of a pruned model's kept weights on text, until a budget is used up."""
