"""Weights in training: float32 copies that an optimizer moves, and the masks that hold pruned weights at zero."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class MasterWeights:
    """Float32 copies of some parameters, trained by Adam with a step width relative to each parameter's size.

    The model keeps its own precision: half-precision weights could not take steps of a thousandth of their size.
    Memory, while it lasts: some twenty bytes a weight. Twelve are the copy and Adam's two moments, four the gradient,
    two to four a state that is kept, one the mask.
    """

    def __init__(self, parameters: Sequence[Tensor], masks: Sequence[Tensor | None]) -> None:
        """Copy the parameters.

        Args:
            parameters: of the model, in any precision; they require gradients from now on.
            masks: for each parameter the bool mask of its kept weights, or ``None`` where all are.
        """
        self._parameters = list(parameters)
        self._masks = list(masks)
        self._masters = [parameter.detach().to(torch.float32, copy=True) for parameter in parameters]
        self._sizes = [_root_mean_square(*pair) for pair in zip(self._masters, self._masks, strict=True)]
        groups = [{"params": [master], "lr": 0.0} for master in self._masters]
        self._optimizer = torch.optim.Adam(groups, betas=(0.9, 0.95), fused=True)
        for parameter in self._parameters:
            parameter.requires_grad_(True)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step of Adam along the parameters' gradients, which are used up.

        Args:
            rate: the step width as a share of the root mean square of each parameter's kept weights.
        """
        for parameter, master, group, size in zip(
            self._parameters, self._masters, self._optimizer.param_groups, self._sizes, strict=True
        ):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
            group["lr"] = rate * size
        self._optimizer.step()
        for master, mask in zip(self._masters, self._masks, strict=True):
            master.grad = None
            if mask is not None:
                master.mul_(mask)
        self._publish()

    def state(self) -> list[Tensor]:
        """A copy of the weights as they are now, in the model's precision."""
        return [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def finish(self, state: list[Tensor]) -> None:
        """Give the model the weights of a state, and take the gradients away."""
        for parameter, value in zip(self._parameters, state, strict=True):
            parameter.copy_(value)
            parameter.grad = None
            parameter.requires_grad_(False)

    def _publish(self) -> None:
        for parameter, master in zip(self._parameters, self._masters, strict=True):
            parameter.copy_(master)


def unpruned(module: nn.Module, pruned: Mapping[Tensor, Tensor]) -> list[Tensor]:
    """The parameters that are trained beside the pruned weights: norms and biases.

    Other matrices are left alone, experts that are stored as one tensor for example.
    """
    return [parameter for parameter in module.parameters() if parameter.ndim < 2 and parameter not in pruned]


def _root_mean_square(values: Tensor, mask: Tensor | None) -> float:
    count = values.numel() if mask is None else int(mask.sum())
    masked = values if mask is None else values * mask
    return float((masked.square().sum(dtype=torch.float64) / max(count, 1)).sqrt())
