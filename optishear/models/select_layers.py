"""Choose and log which of a model's layers are pruned."""

import difflib
import logging
from collections import Counter

from torch import nn

from optishear.errors import InputError
from optishear.models.layers import (
    PrunableLayer,
    all_prunable_layers,
    block_path,
    names_of,
    prunable_layers,
)
from optishear.models.selection import Selection, selection_of, set_selection

logger = logging.getLogger(__name__)
_NAMED = 6


def select_layers(model: nn.Module, selection: Selection) -> list[PrunableLayer]:
    """Set which layers of a model are pruned, and return them.

    From then on ``prunable_layers``, and all that counts or prunes layers, goes by the selection. Routers and gates are
    never pruned, whatever the patterns.

    Raises:
        InputError: if a pattern matches no prunable layer, with the closest names, or all layers are left out; or if
            the model has no prunable layers.
    """
    layers = all_prunable_layers(model)
    names = [names_of(layer) for layer in layers]
    for pattern, parameter in selection.unmatched(names).items():
        paths = list(dict.fromkeys(block_path(layer) for layer in layers))
        close = difflib.get_close_matches(pattern, paths, n=3, cutoff=0.5) or paths[:3]
        raise InputError(
            f"The parameter {parameter} has the pattern {pattern!r}, which matches no prunable layer; layers have "
            f"names such as {layers[0].name}, and paths such as {', '.join(close)}."
        )
    if selection and not any(selection.takes(name) for name in names):
        raise InputError(
            f"The parameters include {list(selection.include)} and exclude {list(selection.exclude)} leave no layer to "
            "prune; give other patterns."
        )
    set_selection(model, selection)
    return prunable_layers(model)


def log_selection(model: nn.Module) -> None:
    """Log how many layers are pruned and left out by the patterns, and their paths; nothing without patterns."""
    if not selection_of(model):
        return
    layers = prunable_layers(model)
    inside = {layer.name for layer in layers}
    left_out = [layer for layer in all_prunable_layers(model) if layer.name not in inside]
    logger.info("%d layers are pruned by include and exclude: %s.", len(layers), _paths(layers))
    logger.info("%d layers are left out: %s.", len(left_out), _paths(left_out) or "none")


def _paths(layers: list[PrunableLayer]) -> str:
    counts = Counter(block_path(layer) for layer in layers)
    named = [f"{path} ({count})" for path, count in list(counts.items())[:_NAMED]]
    rest = [f"{len(counts) - _NAMED} more paths"] if len(counts) > _NAMED else []
    return ", ".join([*named, *rest])
