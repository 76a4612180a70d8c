"""How much of a model's decoder blocks is prunable, and what is left out."""

import logging
import re
from collections import Counter

from pydantic import computed_field
from pydantic.dataclasses import dataclass
from torch import nn

from optishear.models.layers import by_parameter, decoder_blocks, prunable_layers

logger = logging.getLogger(__name__)

# Below this share of the weights of the blocks, the sparsity of the prunable layers does not describe the model.
SUFFICIENT_COVERAGE = 0.95
_NAMED = 3


@dataclass(frozen=True)
class Coverage:
    """The prunable share of the matrices in the decoder blocks.

    A matrix is a parameter of two or more dimensions that is no bias: linear layers, fused experts, routers,
    convolutions.

    Attributes:
        matrix_weights: number of weights in all of them, each shared one once.
        prunable_weights: number of those in prunable layers.
        left_out: number of weights that are not prunable, by the parameter's path in its block, the largest first;
            numbers inside a path, such as those of experts in a list, are ``*``.
    """

    matrix_weights: int
    prunable_weights: int
    left_out: dict[str, int]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def prunable_share(self) -> float:
        """Prunable weights over all weights of the matrices."""
        return self.prunable_weights / self.matrix_weights

    @property
    def is_sufficient(self) -> bool:
        """Whether a sparsity of the prunable layers is about that of the blocks."""
        return self.prunable_share >= SUFFICIENT_COVERAGE

    def in_words(self) -> str:
        """The share, and the largest parts that are left out, as a part of a sentence."""
        words = f"{self.prunable_share:.2%} of the weights in the decoder blocks' matrices are prunable"
        if not self.left_out:
            return words
        named = [f"{path} ({count / self.matrix_weights:.2%})" for path, count in self.left_out.items()]
        rest = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        return f"{words}; left out: {', '.join(named[:_NAMED])}{rest}"


def coverage(model: nn.Module) -> Coverage:
    """Count the weights of a model's decoder blocks; a model on the meta device will do.

    Raises:
        InputError: if the model has no prunable layers.
    """
    grouped = by_parameter(prunable_layers(model))
    prunable = {
        parameter: sum(layer.module.weight.numel() for _, layer in members) for parameter, members in grouped.items()
    }
    total, left_out = 0, Counter[str]()
    matrices = block_matrices(model)
    path = decoder_blocks(model)[0]
    for name, parameter in matrices.items():
        total += parameter.numel()
        rest = parameter.numel() - prunable.get(parameter, 0)
        if rest:
            in_block = name.removeprefix(f"{path}.").partition(".")[2]
            left_out[re.sub(r"\.\d+(?=\.|$)", ".*", in_block)] += rest
    return Coverage(total, total - left_out.total(), dict(left_out.most_common()))


def block_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The matrices in the decoder blocks, by their name in the model, shared ones once.

    Raises:
        InputError: if the model has no decoder blocks.
    """
    path, blocks = decoder_blocks(model)
    return {
        f"{path}.{name}": value
        for name, value in blocks.named_parameters()
        if value.ndim >= 2 and not name.endswith("bias")
    }


def warn_of_coverage(model: nn.Module) -> Coverage:
    """Log what of a model is prunable, as a warning where it is not nearly all.

    Raises:
        InputError: if the model has no prunable layers.
    """
    covered = coverage(model)
    if covered.is_sufficient:
        logger.info("%s.", covered.in_words())
    else:
        logger.warning(
            "Only %s. The sparsity of the pruned layers is not that of the model.",
            covered.in_words(),
        )
    return covered
