"""The recipe that a flow's parameters ask for."""

from typing import Any

from optishear.parameters.layers import LayerParameters
from optishear.parameters.sparsity import SparsityParameters
from optishear.pattern import parse_pattern
from optishear.recipes.recipe import Recipe, find_recipe, named_recipe, with_selection
from tasks.stages.parameters import SearchStageParameters


def recipe_of(parameters: Any) -> Recipe:
    """The recipe of ``RecipeParameters``, for the layers and at the sparsity of the parameters where they have them.

    Raises:
        InputError: if there is no such recipe, or it is for other layers.
    """
    recipe = find_recipe(parameters.recipe, getattr(parameters, "sparsity", parse_pattern("0.5")))
    if isinstance(parameters, SparsityParameters) and parameters.permute_channels:
        recipe = recipe.model_copy(update={"permute_channels": True})
    if isinstance(parameters, LayerParameters):
        return with_selection(recipe, parameters.include, parameters.exclude)
    return recipe


def wanda_of(parameters: SearchStageParameters) -> Recipe:
    """Wanda's recipe for the sparsity, the share of dense weights and the layers of the parameters."""
    recipe = named_recipe("wanda", parameters.sparsity).model_copy(update={"dense_share": parameters.dense_share})
    return with_selection(recipe, parameters.include, parameters.exclude)
