"""2:4 pruned layers on an NVIDIA GPU, through PyTorch's semi-structured tensors."""

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from optishear.errors import first_line
from optishear.models.layers import prunable_layers

logger = logging.getLogger(__name__)

# What cuSPARSELt and CUTLASS take: https://docs.pytorch.org/docs/stable/sparse.html#sparse-semi-structured-tensors
_DTYPES = (torch.bfloat16, torch.float16)
_ROWS, _COLUMNS = 32, 64
_TOKENS = 64
# Of the largest output; sums of the same products in another order differ by less in half precision.
_TOLERANCE = 2e-2


def is_two_of_four(weight: Tensor) -> bool:
    """Whether each four consecutive inputs of each row hold two zeros or more; weight is [out, in]."""
    if weight.shape[1] % 4:
        return False
    return bool(((weight != 0).view(weight.shape[0], -1, 4).sum(dim=2) <= 2).all())


def fits(weight: Tensor) -> bool:
    """Whether the GPU's kernels take a weight: [out, in] in half precision, of a suitable size, and 2:4."""
    rows, columns = weight.shape
    return weight.dtype in _DTYPES and rows % _ROWS == 0 and columns % _COLUMNS == 0 and is_two_of_four(weight)


def semi_structure_layers(
    model: nn.Module, convert: Callable[[Tensor], Tensor] = torch.sparse.to_sparse_semi_structured
) -> int:
    """Give the 2:4 layers of a model semi-structured weights, in place, one after the other. For inference only.

    Layers that PyTorch cannot convert or multiply, for want of cuSPARSELt, of a GPU that has such kernels or of memory,
    stay dense, with one warning for all of them.

    Args:
        model: a pruned model, on a GPU unless ``convert`` takes another.
        convert: converts a weight.

    Returns:
        The number of changed layers.

    Raises:
        InputError: if the model has no prunable layers.
    """
    changed, refused = 0, []
    for layer in prunable_layers(model):
        if not isinstance(layer.module, nn.Linear):  # experts and transposed weights stay as they are
            continue
        try:
            changed += semi_structure(layer.module, convert)
        except RuntimeError as error:
            refused.append(first_line(error))
    if refused:
        logger.warning(
            "PyTorch cannot run %d of the model's 2:4 layers as semi-structured ones on this machine (%s); they stay "
            "dense.",
            len(refused),
            refused[0],
        )
    return changed


@torch.no_grad()
def semi_structure(linear: nn.Linear, convert: Callable[[Tensor], Tensor]) -> bool:
    """Give a layer a semi-structured weight, in place, if its outputs on random inputs stay the same up to rounding.

    Args:
        linear: a layer, on a GPU unless ``convert`` takes another.
        convert: converts the weight.

    Returns:
        Whether the layer was changed. If the outputs differ, it stays unchanged, with a warning.

    Raises:
        RuntimeError: if PyTorch cannot convert or multiply the weight here; the layer is unchanged.
    """
    weight = linear.weight
    if not fits(weight):
        return False
    generator = torch.Generator(weight.device).manual_seed(0)
    x = torch.randn(_TOKENS, weight.shape[1], generator=generator, device=weight.device, dtype=weight.dtype)
    expected = F.linear(x, weight, linear.bias)
    sparse = convert(weight.detach())
    # One token is multiplied alone, as in decoding, since a kernel may refuse so few.
    outputs = torch.cat([F.linear(x[:-1], sparse, linear.bias), F.linear(x[-1:], sparse, linear.bias)])
    difference = (outputs - expected).abs().max() / expected.abs().max().clamp_min(1e-30)
    # Not the other way round: a difference that is not a number must fail.
    if not difference <= _TOLERANCE:
        logger.warning("A semi-structured layer differs by %.2g from its dense form and stays dense.", difference)
        return False
    linear.weight = nn.Parameter(sparse, requires_grad=False)
    return True
