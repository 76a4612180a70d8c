"""The share of dense weights beside an N:M pattern: what cannot work, and how near whole layers come to it."""

from optishear.errors import InputError
from optishear.models.layers import PrunableLayer
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.search_space.space import search_space

# A share that is further from the one asked for is named as another.
_ROUNDING = 5e-5


def check_dense_share(parameters: SearchParameters, pattern: Pattern) -> None:
    """Refuse a share of dense weights that a search cannot divide among layers.

    Raises:
        InputError: names the parameter.
    """
    share = parameters.dense_share
    if not share:
        return
    if not pattern.is_structured:
        raise InputError(
            f"The parameter dense_share is {share}, but the sparsity {pattern} is no N:M pattern; give one such as "
            "2:4, or leave dense_share out: the search finds the ratios of unstructured layers without it."
        )
    if parameters.ratio_scope == "none":
        raise InputError(
            f"The parameter dense_share is {share}, but ratio_scope none prunes all layers alike; set it to linear."
        )


def check_dense_layers(parameters: SearchParameters, layers: list[PrunableLayer], pattern: Pattern) -> None:
    """Refuse a share of dense weights that is smaller than every layer.

    Raises:
        InputError: names the parameter and the smallest possible share.
    """
    if not parameters.dense_share:
        return
    density = search_space("descent", parameters, layers, pattern, {}).density
    assert density is not None
    smallest = int(density.sizes.min()) / int(density.sizes.sum())
    if parameters.dense_share < smallest:
        raise InputError(
            f"The parameter dense_share is {parameters.dense_share}, but the smallest layer holds {smallest:.4f} of "
            "the prunable weights, and layers are dense as a whole; raise it, or leave it out."
        )


def share_in_words(asked: float, achieved: float) -> str:
    """A sentence on the share of a recipe beside the one asked for."""
    if asked - achieved <= _ROUNDING:
        return f"{achieved:.2%} of the weights are in dense layers."
    return (
        f"{achieved:.2%} of the weights are in dense layers, not the {asked:.2%} asked for: whole layers come no "
        "nearer without more."
    )
