"""Models whose weights are in memory, and which of them require gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from optishear.errors import InputError


def check_in_memory(model: nn.Module) -> None:
    """Refuse a model with weights on the meta device, such as accelerate's offload leaves there.

    Its outputs are right, since a hook brings the weights for a forward pass; what reads or writes the weights
    themselves would work on nothing.

    Raises:
        InputError: naming the first weight, and how many there are of such.
    """
    absent = [name for name, value in model.named_parameters() if value.is_meta]
    if absent:
        raise InputError(
            f"The weight {absent[0]!r} and {len(absent) - 1} more are not in memory but offloaded (on the meta "
            "device); load the model whole, without device_map or offload."
        )


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Only parameters that the body asks gradients for require them; afterwards all are as before.

    A plain ``from_pretrained`` leaves gradients required, and a backward pass would keep those of all weights.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        model.requires_grad_(False)
        for parameter in trainable:
            parameter.requires_grad_(True)
