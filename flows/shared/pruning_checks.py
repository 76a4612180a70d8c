"""Checks of the layers, the pattern and the recipe of the flows that prune."""

from transformers.modeling_utils import PreTrainedModel

from flows.parameters.prune_and_evaluate import PruneAndEvaluateParameters
from flows.parameters.recipe import RecipeParameters
from flows.parameters.statistics import StatisticsParameters
from flows.parameters.transplant import TransplantParameters
from flows.shared.recipes import recipe_of
from flows.shared.sparsegpt import sparsegpt_of
from optishear.errors import InputError
from optishear.memory.solver_needs import RECONSTRUCTION_FIX
from optishear.models.coverage import warn_of_coverage
from optishear.models.layers import prunable_layers
from optishear.models.select_layers import log_selection, select_layers
from optishear.models.selection import ALL_LAYERS, Selection
from optishear.parameters.layers import LayerParameters
from optishear.parameters.sparsity import SparsityParameters
from optishear.pruning.apply import check_pattern
from optishear.pruning.channels import check_permutation
from optishear.recipes.fit import check_fits
from optishear.recipes.layer_counts import layer_counts
from optishear.recipes.recipe import find_recipe, with_selection
from optishear.searching.dense_share import check_dense_layers
from tasks.stages.gradients import check_gradients_memory
from tasks.stages.parameters import SearchStageParameters
from tasks.stages.reconstruct import check_memory_of_reconstruction


def check_recipe(parameters: RecipeParameters, sparsity: SparsityParameters) -> None:
    """Refuse a sparsity or layers beside a recipe file of others, which would be ignored silently.

    Raises:
        InputError: names the recipe and both.
    """
    recipe = find_recipe(parameters.recipe, sparsity.sparsity)
    with_selection(recipe, sparsity.include, sparsity.exclude)
    if "sparsity" in sparsity.model_fields_set and recipe.sparsity != sparsity.sparsity:
        raise InputError(
            f"The recipe {parameters.recipe!r} is for the sparsity {recipe.sparsity}, not {sparsity.sparsity}; "
            "leave out the sparsity, or search a recipe for it."
        )


def check_channel_order(parameters: SparsityParameters) -> None:
    """Refuse a permutation of channels for a pattern that no order of channels changes.

    Raises:
        InputError: names the parameter.
    """
    pattern = recipe_of(parameters).sparsity if isinstance(parameters, RecipeParameters) else parameters.sparsity
    check_permutation(pattern, parameters.permute_channels)


def check_carried_ratios(parameters: TransplantParameters) -> None:
    """Refuse a recipe without layer ratios that can be carried to another metric.

    Raises:
        InputError: names the recipe.
    """
    recipe = recipe_of(parameters)
    if recipe.sparsity.is_structured:
        raise InputError(
            f"The recipe {parameters.recipe!r} is for {recipe.sparsity}, which fixes the sparsity of every layer; "
            "give one for a fraction, such as 0.5."
        )
    if not recipe.sparsity_ratios:
        raise InputError(f"The recipe {parameters.recipe!r} has no sparsity ratios; give one that a search found.")


def check_layers(model: PreTrainedModel, parameters: StatisticsParameters) -> None:
    """Select the layers that are pruned, of a recipe or by the parameters, log them, and warn of low coverage.

    Raises:
        InputError: if the model has no prunable layers, or a pattern matches none of them.
    """
    select_layers(model, _selection(parameters))
    log_selection(model)
    warn_of_coverage(model)


def _selection(parameters: StatisticsParameters) -> Selection:
    if isinstance(parameters, RecipeParameters):
        return recipe_of(parameters).selection
    if isinstance(parameters, LayerParameters):
        return Selection.of(parameters.include, parameters.exclude)
    return ALL_LAYERS


def check_pattern_of_model(model: PreTrainedModel, _: StatisticsParameters, parameters: SparsityParameters) -> None:
    """Refuse a pattern that does not divide the layers' widths.

    Raises:
        InputError: names the first such layer.
    """
    check_pattern(parameters.sparsity, prunable_layers(model))


def check_memory_of_gradients(
    model: PreTrainedModel, parameters: RecipeParameters, calibration: StatisticsParameters
) -> None:
    """Refuse a recipe that needs gradients where a backward pass does not fit the device.

    Raises:
        InputError: names the memory.
    """
    if recipe_of(parameters).needs_gradients:
        check_gradients_memory(model, calibration, calibration.sequence_length)


def check_memory_of_sparsegpt(model: PreTrainedModel, parameters: PruneAndEvaluateParameters) -> None:
    """Refuse a comparison with SparseGPT that does not fit the device.

    Raises:
        InputError: names the memory.
    """
    if parameters.with_sparsegpt:
        fix = f"set compare_sparsegpt to false, {RECONSTRUCTION_FIX}"
        check_memory_of_reconstruction(model, parameters, sparsegpt_of(parameters), parameters, fix)


def check_dense_layers_of_model(model: PreTrainedModel, parameters: SearchStageParameters) -> None:
    """Refuse a share of dense weights that is smaller than every layer.

    Raises:
        InputError: names the smallest possible share.
    """
    check_dense_layers(parameters, prunable_layers(model), parameters.sparsity)


def check_recipe_of_model(model: PreTrainedModel, parameters: RecipeParameters) -> None:
    """Refuse a recipe whose paths, pattern or layer ratios do not fit the model.

    Raises:
        InputError: names the layer or the recipe.
    """
    recipe = recipe_of(parameters)
    layers = prunable_layers(model)
    check_fits(recipe, layers, model.config.model_type)
    check_pattern(recipe.sparsity, layers)
    layer_counts(recipe, layers)
