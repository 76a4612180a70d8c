"""A pruned model in memory → the same model with its pruned layers packed."""

from torch import nn

from optishear.inference.kernel import Kernel, best_kernel
from optishear.inference.sparse_linear import sparse_linear
from optishear.models.layers import prunable_layers


def pack_layers(model: nn.Module, kernel: Kernel | None = None) -> int:
    """Replace the pruned layers of a model on the CPU by packed ones, in place, one after the other.

    Outputs stay the same up to rounding. For inference only; nothing can be pruned or trained afterwards. Each dense
    layer is let go before the next is packed, unless the caller holds it too.

    Args:
        model: a pruned model in bfloat16 or float32.
        kernel: by default the fastest of this machine.

    Returns:
        The number of replaced layers; 0 if the machine has no kernel.

    Raises:
        InputError: if the model has no prunable layers.
    """
    kernel = kernel or best_kernel()
    if kernel is None:
        return 0
    layers, replaced = prunable_layers(model), 0
    # The list would keep every dense layer alive until the last is packed.
    while layers:
        layer = layers.pop()
        if not isinstance(layer.module, nn.Linear):  # experts and transposed weights stay as they are
            continue
        packed = sparse_linear(layer.module, kernel)
        if packed is not None:
            parent, _, name = layer.name.rpartition(".")
            setattr(model.get_submodule(parent), name, packed)
            replaced += 1
    return replaced
