"""Copies of both models on further GPUs, which share the sequences of a step (data parallelism)."""

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from optishear.divergence.model_divergence import ModelDivergence
from optishear.models.features import FeatureModel, split_at_head
from optishear.models.loss_scale import LossScale
from optishear.training.activations import bounded_activations


class Replica:
    """Both models on one device, and its part of a step.

    Attributes:
        pruned: the pruned model.
        parameters: those of its parameters that are trained, in the order of the weights in training.
    """

    def __init__(
        self, pruned: PreTrainedModel, parameters: Sequence[Tensor], pruned_parts: FeatureModel, dense: FeatureModel
    ) -> None:
        """Take both models as they are; the gradients of ``parameters`` are to be required."""
        self.pruned, self.parameters = pruned, parameters
        self._parts, self._dense = pruned_parts, dense

    def backward(self, blocks: Tensor, at_once: int, scale: LossScale, mean_over: int) -> None:
        """Add the gradients of some sequences to those of the parameters.

        Args:
            blocks: [sequences, length] int64.
            at_once: sequences of a backward pass.
            scale: of the loss.
            mean_over: sequences of the step, on all devices.
        """
        if not len(blocks):
            return
        with torch.enable_grad():  # each thread has its own mode
            divergence = ModelDivergence(self._dense, blocks, ("kl",), measured=0).of(self._parts)
            for first in range(0, len(blocks), at_once):
                divergence.backward(first, min(at_once, len(blocks) - first), scale, mean_over)


class Replicas:
    """The device with the optimizer and further ones, of which each takes an equal part of a step's sequences.

    One process drives all devices with a thread each, so that a stage stays one process with one log, one state and one
    clock. The optimizer's state is on the first device alone. It sums the gradients in the order of the devices, so
    that a step gives what one device gives which makes as many passes, to the last bit.
    """

    def __init__(self, first: Replica, dense: PreTrainedModel, devices: Sequence[torch.device]) -> None:
        """Copy both models to the further devices.

        Args:
            first: the models on the device with the optimizer.
            dense: the dense model of ``first``.
            devices: the further ones.
        """
        self._all = [first]
        for device in devices:
            pruned = _copied(first.pruned, device)
            by_former = dict(zip(first.pruned.parameters(), pruned.parameters(), strict=True))
            parameters = [by_former[parameter].requires_grad_(True) for parameter in first.parameters]  # type: ignore[index]
            self._all.append(Replica(pruned, parameters, split_at_head(pruned), split_at_head(_copied(dense, device))))
        self._threads = ThreadPoolExecutor(len(self._all), "recovery")

    def __len__(self) -> int:
        """Number of devices."""
        return len(self._all)

    @contextmanager
    def bounded_activations(self, tokens: int) -> Iterator[None]:
        """``bounded_activations`` of every further device, and the end of the threads."""
        with self._threads, ExitStack() as stack:
            for replica in self._all[1:]:
                stack.enter_context(bounded_activations(replica.pruned, tokens))
            yield

    def backward(self, blocks: Tensor, at_once: int, scale: LossScale) -> None:
        """Add the gradients of a step's sequences, of all devices together, to the first device's parameters.

        Args:
            blocks: [sequences, length] int64.
            at_once: sequences of a backward pass.
            scale: of the loss.
        """
        parts = blocks.tensor_split(len(self._all))
        passes = [
            self._threads.submit(replica.backward, part, at_once, scale, len(blocks))
            for replica, part in zip(self._all, parts, strict=True)
        ]
        for done in passes:
            done.result()
        with torch.no_grad():
            for replica in self._all[1:]:
                for mine, other in zip(self._all[0].parameters, replica.parameters, strict=True):
                    _add(mine, other)

    @torch.no_grad()
    def update(self) -> None:
        """Give the further devices the first one's weights."""
        for replica in self._all[1:]:
            for mine, other in zip(self._all[0].parameters, replica.parameters, strict=True):
                other.copy_(mine, non_blocking=True)


def _add(mine: Tensor, other: Tensor) -> None:
    """Move the gradient of a copy to the first device's parameter."""
    gradient, other.grad = other.grad, None
    if gradient is None:
        return
    gradient = gradient.to(mine.device)
    mine.grad = gradient if mine.grad is None else mine.grad.add_(gradient)


def _copied(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """A copy on another device, of which no parameter requires a gradient; each tensor is copied straight to it."""
    tensors = {
        id(parameter): nn.Parameter(parameter.detach().to(device, copy=True), False) for parameter in model.parameters()
    }
    buffers = {id(buffer): buffer.to(device, copy=True) for buffer in model.buffers()}
    return copy.deepcopy(model, tensors | buffers)
