"""What the prunable layers read while a model runs."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from optishear.models.experts import inputs_of_experts
from optishear.models.layers import PrunableLayer


@contextmanager
def watching_inputs(layers: Iterable[PrunableLayer], see: Callable[[PrunableLayer, Tensor], None]) -> Iterator[None]:
    """Give every input of some layers to a function, before the layer runs.

    Layers that read the same tensor are given the very same object, one after another. Of an expert's layer the input
    is that of the tokens that the router sends to it; where there are none, it is not called.

    Args:
        layers: the layers to watch.
        see: receives the layer and its input [..., in].
    """
    routed: dict[nn.Module, dict[tuple[str, int], PrunableLayer]] = {}
    handles = []
    for layer in layers:
        for module in (layer.called, *layer.shared_by):
            if layer.expert is not None:
                routed.setdefault(module, {})[layer.attribute, layer.expert] = layer
            else:
                handles.append(module.register_forward_pre_hook(_plain(layer, see)))
    handles += [
        module.register_forward_pre_hook(_routed(members, see), with_kwargs=True) for module, members in routed.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _plain(layer: PrunableLayer, see: Callable[[PrunableLayer, Tensor], None]) -> Any:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        see(layer, inputs[0])

    return hook


def _routed(members: dict[tuple[str, int], PrunableLayer], see: Callable[[PrunableLayer, Tensor], None]) -> Any:
    def see_member(attribute: str, expert: int, read: Tensor) -> None:
        layer = members.get((attribute, expert))
        if layer is not None:
            see(layer, read)

    def hook(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        with torch.no_grad():
            inputs_of_experts(module, arguments, keywords, see_member)

    return hook
