"""A model as plain values that travel to another process: its modules without weights, and the bytes of the weights."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel


@dataclass(frozen=True)
class PortableModel:
    """A model for another process.

    Attributes:
        modules: the model with its parameters on the meta device, each in its dtype and order of memory, and its
            buffers on the CPU. Tied parameters are one.
        weights: the bytes of each parameter in the order of its memory, in the order of ``modules.parameters()``.
    """

    modules: PreTrainedModel
    weights: list[NDArray[np.uint8]]

    @classmethod
    def of(cls, model: PreTrainedModel) -> "PortableModel":
        """Take a model apart, to be sent before it changes: weights on a CPU share their memory."""
        parameters = {
            id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), False)
            for parameter in model.parameters()
        }
        buffers = {id(buffer): buffer.detach().to("cpu", copy=True) for buffer in model.buffers()}
        weights = [_in_memory_order(parameter.detach()) for parameter in model.parameters()]
        bytes_of = [weight.cpu().view(torch.uint8).numpy() for weight in weights]
        return cls(copy.deepcopy(model, parameters | buffers), bytes_of)

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return sum(weight.nbytes for weight in self.weights)

    def on(self, device: torch.device) -> PreTrainedModel:
        """The model on a device, with copies of the weights; to be called once."""
        loaded = {
            id(empty): nn.Parameter(_with_layout(empty, weight, device), False)
            for empty, weight in zip(self.modules.parameters(), self.weights, strict=True)
        }
        for module in self.modules.modules():
            for name, empty in module._parameters.items():
                if empty is not None:
                    module._parameters[name] = loaded[id(empty)]
        nn.Module.to(self.modules, device)
        return self.modules


def _in_memory_order(weight: Tensor) -> Tensor:
    """The values of a tensor [values] in the order that ``empty_like`` gives them in memory."""
    order = torch.empty_like(weight, device="meta")
    if order.stride() != weight.stride():  # a part of another tensor
        weight = weight.clone()
    return weight.as_strided((weight.numel(),), (1,))


def _with_layout(empty: Tensor, weight: NDArray[np.uint8], device: torch.device) -> Tensor:
    """A tensor on a device with the shape, dtype and order of memory of another."""
    # What came through shared memory cannot be written to.
    values = torch.from_numpy(weight.copy()).view(empty.dtype)
    return values.as_strided(empty.shape, empty.stride()).to(device)
