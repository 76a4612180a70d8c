"""The parameters of the flow ``transfer``."""

from flows.parameters.prune_and_evaluate import PruneAndEvaluateParameters
from flows.parameters.recipe import RecipeParameters
from optishear.parameters.sparsity import SparsityParameters


class TransferParameters(RecipeParameters, SparsityParameters, PruneAndEvaluateParameters):
    """Apply a recipe found elsewhere to this model, and evaluate it beside this model's own Wanda."""
