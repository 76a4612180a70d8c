"""The share of dense weights beside an N:M pattern: what cannot work, and how near whole layers come to it."""

from optishear.errors import InputError
from optishear.models.layers import PrunableLayer
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.search_space.space import search_space

# A share that is further from the one asked for is named as another.
_ROUNDING = 5e-5


def check_dense_share(parameters: SearchParameters, pattern: Pattern) -> None:
    """Refuse a share of dense weights that a search cannot divide among layers, or patterns that they cannot have.

    Raises:
        InputError: names the parameter.
    """
    share = parameters.dense_share
    if not share:
        if parameters.denser_patterns:
            raise InputError(
                f"The parameter denser_patterns is {_listed(parameters)}, but dense_share, the budget for such layers, "
                "is not given; give it, such as 0.1, or leave denser_patterns out."
            )
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
    for denser in parameters.denser_patterns:
        if denser.group != pattern.group or not denser.fraction < pattern.fraction:
            raise InputError(
                f"The parameter denser_patterns has {denser}, but beside {pattern} a layer can only keep more than "
                f"{pattern.kept} of every {pattern.group} weights; leave {denser} out, or choose another sparsity."
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
    smallest = density.smallest_share
    if parameters.dense_share < smallest * (1 - _ROUNDING):
        raise InputError(
            f"The parameter dense_share is {parameters.dense_share}, but the smallest layer takes {smallest:.4f} of "
            "the prunable weights, and layers are denser as a whole; raise it, or leave it out."
        )


def share_in_words(parameters: SearchParameters, achieved: float) -> str:
    """A sentence on the share of a recipe beside the one asked for."""
    asked = parameters.dense_share
    where = "in dense layers"
    if parameters.denser_patterns:
        where += f", with layers of {_listed(parameters)} counted in part"
    if asked - achieved <= _ROUNDING:
        return f"{achieved:.2%} of the weights are {where}."
    return (
        f"{achieved:.2%} of the weights are {where}, not the {asked:.2%} asked for: whole layers come no nearer "
        "without more."
    )


def _listed(parameters: SearchParameters) -> str:
    return ", ".join(str(denser) for denser in parameters.denser_patterns)
