"""Adam on one parameter, with its second moments factored into rows and columns."""

import torch
from torch import Tensor

from optishear.training.adam_passes import Matrix, passes_for

# Decay of the averages of gradients and of their squares, each step.
MOMENTUM, SQUARES = 0.9, 0.95
_SMALLEST_SQUARE = 1e-38


class FactoredAdam:
    """The optimizer's state for one parameter, and its steps.

    The second moment of weight (i, j) is estimated as r_i c_j / mean(r), with r and c the averages of squared gradients
    over rows and columns (Adafactor, arXiv 1804.04235, algorithm 4), here over the kept weights alone. For a vector
    this is the second moment of each element. The momentum is that of Adam, in the parameter's precision.

    Attributes:
        parameter: trained in place, [..., out, in] or [n].
    """

    def __init__(self, parameter: Tensor, is_pruned: bool, squares: float = SQUARES) -> None:
        """Begin with empty averages.

        Args:
            parameter: to train.
            is_pruned: whether its zeros stay zero.
            squares: decay of the averages of squared gradients, each step.
        """
        self.parameter = parameter
        self._is_pruned, self._decay = is_pruned, squares
        values = parameter.detach()
        # [matrices, rows, columns]; a vector is a matrix of one row.
        self._values = values.view(-1, *values.shape[-2:]) if values.ndim >= 2 else values.view(1, 1, -1)
        self._passes = passes_for(self._values)
        self._momentum = torch.zeros_like(self._values)
        self._residual = torch.zeros_like(self._values) if values.dtype.itemsize < 4 else None
        matrices, rows, columns = self._values.shape
        self._rows = torch.zeros(matrices, rows, device=values.device)
        self._columns = torch.zeros(matrices, columns, device=values.device)
        self._kept_of_rows = torch.full_like(self._rows, columns)
        self._kept_of_columns = torch.full_like(self._columns, rows)
        if is_pruned:
            self._kept_of_rows = torch.count_nonzero(self._values, dim=2).float()
            self._kept_of_columns = torch.count_nonzero(self._values, dim=1).float()
        kept = int(self._kept_of_rows.sum(dtype=torch.float64))
        sum_of_squares = sum(matrix.float().square().sum(dtype=torch.float64) for matrix in self._values)
        self._size = torch.as_tensor(sum_of_squares / max(1, kept)).sqrt()

    def tensors(self) -> dict[str, Tensor]:
        """The weight and the state by name, to save, and to copy saved ones into."""
        tensors = {
            "weight": self._values,
            "momentum": self._momentum,
            "rows": self._rows,
            "columns": self._columns,
            "size": self._size,
        }
        return tensors if self._residual is None else {**tensors, "residual": self._residual}

    def stop(self) -> None:
        """Set the momentum to zero, and the exact weight to the parameter's."""
        self._momentum.zero_()
        if self._residual is not None:
            self._residual.zero_()

    def step(self, gradient: Tensor, rate: float, steps: int) -> None:
        """Make a step.

        Args:
            gradient: of the parameter's shape.
            rate: width of the step, as a share of the root mean square of the kept weights at the start.
            steps: number of this step, from 1.
        """
        gradients = gradient.view_as(self._values)
        for number, gradients_of_matrix in enumerate(gradients):
            self._step(number, gradients_of_matrix, rate, steps)

    def _step(self, number: int, gradients: Tensor, rate: float, steps: int) -> None:
        """Make the step of one matrix."""
        residuals = None if self._residual is None else self._residual[number]
        matrix = Matrix(self._values[number], self._momentum[number], residuals, self._is_pruned)
        kept_of_rows, kept_of_columns = self._kept_of_rows[number], self._kept_of_columns[number]
        rows, columns = self._rows[number], self._columns[number]
        sums_of_rows, sums_of_columns = self._passes.sums_of_squares(matrix, gradients)
        rows.lerp_(sums_of_rows / kept_of_rows.clamp_min(1), 1 - self._decay)
        columns.lerp_(sums_of_columns / kept_of_columns.clamp_min(1), 1 - self._decay)
        mean = (rows * kept_of_rows).sum() / kept_of_rows.sum().clamp_min(1)
        of_rows = rows.clamp_min(_SMALLEST_SQUARE).rsqrt() * mean.sqrt()
        of_columns = columns.clamp_min(_SMALLEST_SQUARE).rsqrt()
        width = rate * float(self._size) * (1 - self._decay**steps) ** 0.5 / (1 - MOMENTUM**steps)
        self._passes.move(matrix, gradients, of_rows, of_columns, width, 1 - MOMENTUM)
