"""Whether a recipe is for a model: every path in it has to be one of the model's layers."""

import difflib
import logging

from optishear.errors import InputError
from optishear.models.layers import KINDS, PrunableLayer, block_path, expert_path
from optishear.recipes.recipe import Recipe

logger = logging.getLogger(__name__)


def check_fits(recipe: Recipe, layers: list[PrunableLayer], model_type: str) -> None:
    """Refuse a recipe with metrics, sparsity ratios or patterns for paths that the model does not have.

    A recipe that a search found on another family, by its origin, may have them: layers are then pruned at the mean
    ratio of their depth, by the metric of their kind, and a warning names the paths.

    Args:
        recipe: to apply.
        layers: the model's prunable layers.
        model_type: the model's family, as in its configuration.

    Raises:
        InputError: naming the first such path and the closest ones.
    """
    paths = {path: None for layer in layers for path in (block_path(layer), expert_path(layer))}
    unknown = {
        "metrics": [key for key in recipe.metrics if key not in {"all", *KINDS, *paths}],
        "sparsity_ratios": [key for key in recipe.sparsity_ratios if key not in {"all", *paths}],
        "layer_patterns": [key for key in recipe.layer_patterns if key not in {"all", *paths}],
    }
    for field, keys in unknown.items():
        if not keys:
            continue
        if recipe.origin and recipe.origin.get("model_type") != model_type:
            logger.warning(
                "The recipe %r has %s for %d paths that this model of the family %s does not have, such as %s; its "
                "own layers without an entry are pruned by those of their kind and depth.",
                recipe.name,
                field,
                len(keys),
                model_type,
                keys[0],
            )
            continue
        close = difflib.get_close_matches(keys[0], paths, n=3) or list(paths)[:3]
        raise InputError(
            f"The recipe {recipe.name!r} has {field} for {keys[0]!r}, a path that the model's blocks do not have "
            f"({len(keys)} such paths); they have {', '.join(close)}."
        )
