"""Checks of the layers, the pattern and the recipe of the flows that prune."""

from transformers.modeling_utils import PreTrainedModel

from flows.parameters.recipe import RecipeParameters
from flows.parameters.statistics import StatisticsParameters
from flows.parameters.transplant import TransplantParameters
from optishear.errors import InputError
from optishear.models.coverage import warn_of_coverage
from optishear.models.layers import prunable_layers
from optishear.parameters.sparsity import SparsityParameters
from optishear.pruning.apply import check_pattern
from optishear.recipes.fit import check_fits
from optishear.recipes.layer_ratios import layer_ratios
from optishear.recipes.recipe import find_recipe


def check_recipe(parameters: RecipeParameters, sparsity: SparsityParameters) -> None:
    """Refuse a sparsity beside a recipe file of another sparsity, which would be ignored silently.

    Raises:
        InputError: names the recipe and both sparsities.
    """
    recipe = find_recipe(parameters.recipe, sparsity.sparsity)
    if "sparsity" in sparsity.model_fields_set and recipe.sparsity != sparsity.sparsity:
        raise InputError(
            f"The recipe {parameters.recipe!r} is for the sparsity {recipe.sparsity}, not {sparsity.sparsity}; "
            "leave out the sparsity, or search a recipe for it."
        )


def check_carried_ratios(parameters: TransplantParameters) -> None:
    """Refuse a recipe without layer ratios that can be carried to another metric.

    Raises:
        InputError: names the recipe.
    """
    recipe = find_recipe(parameters.recipe, "0.5")
    if recipe.sparsity.is_structured:
        raise InputError(
            f"The recipe {parameters.recipe!r} is for {recipe.sparsity}, which fixes the sparsity of every layer; "
            "give one for a fraction, such as 0.5."
        )
    if not recipe.sparsity_ratios:
        raise InputError(f"The recipe {parameters.recipe!r} has no sparsity ratios; give one that a search found.")


def check_layers(model: PreTrainedModel, _: StatisticsParameters) -> None:
    """Refuse a model without prunable layers, and warn of low coverage.

    Raises:
        InputError: if the model has none.
    """
    prunable_layers(model)
    warn_of_coverage(model)


def check_pattern_of_model(model: PreTrainedModel, _: StatisticsParameters, parameters: SparsityParameters) -> None:
    """Refuse a pattern that does not divide the layers' widths.

    Raises:
        InputError: names the first such layer.
    """
    check_pattern(parameters.sparsity, prunable_layers(model))


def check_recipe_of_model(model: PreTrainedModel, parameters: RecipeParameters, sparsity: SparsityParameters) -> None:
    """Refuse a recipe whose paths, pattern or layer ratios do not fit the model.

    Raises:
        InputError: names the layer or the recipe.
    """
    recipe = find_recipe(parameters.recipe, sparsity.sparsity)
    layers = prunable_layers(model)
    check_fits(recipe, layers, model.config.model_type)
    check_pattern(recipe.sparsity, layers)
    layer_ratios(recipe, layers)
