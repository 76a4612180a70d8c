"""Loss scaling: gradients that are too small for float16."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from optishear.models.finite import is_finite

# That of PyTorch's ``GradScaler``.
FIRST_FACTOR = 2.0**16
Result = TypeVar("Result")


class GradientOverflow(ArithmeticError):
    """A scaled gradient is not finite in float16."""


class LossScale:
    """A power of two that multiplies a loss before its backward pass, and divides the gradients where they are read.

    The smallest number of float16 is 6e-8, and the gradients of a mean over thousands of tokens are smaller. A power of
    two does not change the rounding of the others (Micikevicius et al., "Mixed precision training", arXiv 1710.03740).
    Other dtypes have the range of float32, and the factor 1.

        scale = LossScale(model.dtype)

        def work() -> ...:  # begins with all gradients at zero
            (loss() * scale.factor).backward()
            return scale.unscaled(parameter.grad)

        scale.run(work)

    Attributes:
        factor: halved where a gradient overflowed; it stays so.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        """Begin with a large factor.

        Args:
            dtype: of the gradients.
        """
        self.factor = FIRST_FACTOR if dtype == torch.float16 else 1.0

    def run(self, work: Callable[[], Result]) -> Result:
        """Do the work; where a gradient overflows, repeat it with half the factor, down to 1.

        Args:
            work: a backward pass that reads its gradients with ``unscaled``; it drops those of a failed pass first.
        """
        while True:
            try:
                return work()
            except GradientOverflow:
                self.factor /= 2

    def unscaled(self, gradient: Tensor) -> Tensor:
        """The gradient of the loss itself: float32 where there is a factor, otherwise the given tensor.

        Raises:
            GradientOverflow: if it is not finite and a smaller factor may help.
        """
        if self.factor == 1:
            return gradient
        if not is_finite(gradient):
            raise GradientOverflow
        return gradient.float() / self.factor
