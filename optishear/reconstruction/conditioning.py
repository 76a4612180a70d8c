"""The second moment in the units in which every input has a moment of one, and its inverses.

With E the roots of H's diagonal, the error of a layer is tr((W - V) H (W - V)^T) = tr((W' - V') H' (W' - V')^T)
for W' = W E and H' = E^-1 H E^-1, whose diagonal is one. In these units one step width fits all inputs, and the size
of a weight is its Wanda score (ALPS, arXiv 2406.07831; 2401.02938).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# It matters to an input that a handful of tokens used, whose weights would otherwise be fitted to these tokens alone.
# SparseGPT adds a hundredth, which drowns quiet inputs.
FLOOR = 1e-4


@dataclass(frozen=True)
class Conditioned:
    """A second moment with unit diagonal.

    Attributes:
        moment: [in, in] float, damped; the rows of dead inputs are those of the identity.
        scale: [in], root of the mean square of each input; zero for a dead one.
    """

    moment: Tensor
    scale: Tensor

    def into(self, weight: Tensor) -> Tensor:
        """The weight [out, in] in these units; zero at dead inputs."""
        return weight * self.scale

    def back(self, scaled: Tensor, dense: Tensor) -> Tensor:
        """A weight [out, in] in its own units; a weight of a dead input, which nothing depends on, is the dense one."""
        dead = self.scale == 0
        weight = scaled / torch.where(dead, 1, self.scale)
        return torch.where(dead, dense, weight) if bool(dead.any()) else weight

    def shifted_inverse(self, shift: float) -> Tensor:
        """(H' + shift I)^-1, [in, in] of the moment's dtype.

        It is computed in float64: in float32 its last digits depend on the number of threads, and two weights with
        nearly equal values then change places in the support.
        """
        shifted = self.moment.to(torch.float64, copy=True)
        shifted.diagonal().add_(shift)
        lower = torch.linalg.cholesky(shifted)
        del shifted  # each is twice as large as the moment
        inverse: Tensor = torch.cholesky_inverse(lower).to(self.moment.dtype)
        return inverse


def condition(moment: Tensor, damping: float, floor: float = FLOOR) -> Conditioned:
    """Scale a second moment [in, in] to a unit diagonal, and damp it.

    Args:
        moment: [in, in] float.
        damping: share of each input's own moment that is added to it. Below a hundredth the solutions follow the noise
            of a few thousand calibration tokens; above a tenth they stay too near the dense weights.
        floor: share of the inputs' mean moment that is added to each.
    """
    diagonal = moment.diagonal()
    scale = diagonal.clamp_min(0).sqrt()
    divisor = torch.where(scale == 0, 1, scale)
    scaled = moment / divisor.outer(divisor)
    scaled.diagonal().copy_(1 + damping + floor * diagonal.mean() / divisor.square())
    return Conditioned(scaled, scale)
