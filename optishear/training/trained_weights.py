"""Weights in training, in six bytes each: the model's own, what their precision cannot hold, and a momentum."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from optishear.models.loss_scale import GradientOverflow, LossScale
from optishear.training.factored_adam import SQUARES, FactoredAdam


class TrainedWeights:
    """Parameters of a model that are trained in place; zeros of pruned ones stay zero.

    A context manager: inside, backward passes end in steps of ``FactoredAdam``. A gradient is used up as soon as the
    backward pass has it, so that those of all layers are never in memory together.

    Memory in bytes a weight of a half-precision model: 2 for the weight, which is the model's own; 2 for the residual,
    the difference of the exact weight from it, since steps of a thousandth of a weight are smaller than its precision;
    and 2 for the momentum. With float32 the weight and the momentum take 4 bytes each, and no residual is needed.

    The mask of a pruned parameter takes no memory: it is where the weight is not zero. A kept weight that a step takes
    to zero becomes the smallest number instead.

    Attributes:
        scale: factor of the loss in float16. A parameter whose gradient overflows is left out of a step, and the factor
            is halved for the next: most others have made theirs by then, so that the step cannot be repeated.
    """

    def __init__(self, pruned: Sequence[Tensor], others: Sequence[Tensor], squares: float = SQUARES) -> None:
        """Begin with the parameters as they are.

        Args:
            pruned: parameters whose zeros are pruned, [..., out, in].
            others: further parameters to train, in whole.
            squares: decay of the averages of squared gradients, each step.
        """
        self._weights = [FactoredAdam(parameter, True, squares) for parameter in pruned]
        self._weights += [FactoredAdam(parameter, False, squares) for parameter in others]
        self.scale = LossScale(self._weights[0].parameter.dtype)
        self._overflows = False
        self._drops_gradients = False
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._steps, self._rate, self._is_last_pass = 0, 0.0, False

    def __enter__(self) -> Self:
        """Require gradients, and take each as it comes."""
        by_parameter = {id(weight.parameter): weight for weight in self._weights}

        def arrived(parameter: Tensor) -> None:
            if self._drops_gradients:
                parameter.grad = None
            elif self._is_last_pass:
                self._update(by_parameter[id(parameter)])

        for weight in self._weights:
            weight.parameter.requires_grad_(True)
            self._handles.append(weight.parameter.register_post_accumulate_grad_hook(arrived))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take hooks and gradients away; the weights stay as trained."""
        for handle in self._handles:
            handle.remove()
        for weight in self._weights:
            weight.parameter.grad = None
            weight.parameter.requires_grad_(False)

    def step(self, rate: float, passes: int) -> Iterator[int]:
        """A step along the gradients of so many backward passes, which the body runs; they add up.

        In the last pass each parameter is updated as soon as its gradient is there. The loss is to be multiplied by
        the factor of ``scale``.

        Args:
            rate: width of the step, as a share of the root mean square of each parameter's kept weights at the start.
            passes: number of backward passes.
        """
        self._steps, self._rate = self._steps + 1, rate
        for number in range(passes):
            self._is_last_pass = number == passes - 1
            yield number
        self._is_last_pass = False
        self._update_all()

    def step_along_gradients(self, rate: float) -> None:
        """A step along the gradients that the parameters have by now; else as ``step``."""
        self._steps, self._rate = self._steps + 1, rate
        self._update_all()

    def _update_all(self) -> None:
        """Update the parameters that still have a gradient."""
        for weight in self._weights:
            # Of an expert that the last pass did not reach.
            self._update(weight)
        if self._overflows:
            self.scale.factor /= 2
            self._overflows = False

    @contextmanager
    def dropped_gradients(self) -> Iterator[None]:
        """Backward passes of the body leave no gradients and change nothing: to measure what a pass takes."""
        self._drops_gradients = True
        try:
            yield
        finally:
            self._drops_gradients = False

    @torch.no_grad()
    def _update(self, weight: FactoredAdam) -> None:
        gradient, weight.parameter.grad = weight.parameter.grad, None
        if gradient is None:
            return
        try:
            weight.step(self.scale.unscaled(gradient), self._rate, self._steps)
        except GradientOverflow:
            self._overflows = True

    def state(self) -> dict[str, Tensor]:
        """The weights and the optimizer's tensors by name, from which ``restore`` goes on."""
        tensors = {"steps": torch.tensor(self._steps), "loss_factor": torch.tensor(self.scale.factor)}
        for number, weight in enumerate(self._weights):
            tensors |= {f"{number}.{name}": value for name, value in weight.tensors().items()}
        return tensors

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of the same parameters."""
        self._steps = int(state["steps"])
        self.scale.factor = float(state["loss_factor"])
        for number, weight in enumerate(self._weights):
            for name, value in weight.tensors().items():
                value.copy_(state[f"{number}.{name}"])

    def copy(self) -> list[Tensor]:
        """A copy of the parameters as they are now, on the host."""
        return [weight.parameter.detach().to("cpu", copy=True) for weight in self._weights]

    @torch.no_grad()
    def set(self, values: Sequence[Tensor]) -> None:
        """Give the parameters the values of a copy."""
        for weight, value in zip(self._weights, values, strict=True):
            weight.parameter.copy_(value)

    @torch.no_grad()
    def go_back(self, values: Sequence[Tensor]) -> None:
        """Train on from the values of a copy, without the momentum that led away from them."""
        self.set(values)
        for weight in self._weights:
            weight.stop()


def unpruned(module: nn.Module, pruned: Iterable[Tensor]) -> list[Tensor]:
    """The parameters that are trained beside the pruned weights: norms and biases.

    Other matrices are left alone, experts that are stored as one tensor for example.
    """
    pruned = set(pruned)
    return [parameter for parameter in module.parameters() if parameter.ndim < 2 and parameter not in pruned]
