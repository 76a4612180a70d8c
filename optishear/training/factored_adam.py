"""Adam on one parameter, with its second moments factored into rows and columns."""

import torch
from torch import Tensor

# Decay of the averages of gradients and of their squares, each step.
MOMENTUM, SQUARES = 0.9, 0.95
# Weights that are updated at a time: on a CPU what fits its caches, on a GPU few enough for small temporaries.
WEIGHTS_PER_BLOCK = {"cpu": 2**18}
WEIGHTS_PER_BLOCK_ON_GPU = 2**24
_SMALLEST_SQUARE = 1e-38
_SMALLEST_HALF = 2.0**-24


class FactoredAdam:
    """The optimizer's state for one parameter, and its steps.

    The second moment of weight (i, j) is estimated as r_i c_j / mean(r), with r and c the averages of squared gradients
    over rows and columns (Adafactor, arXiv 1804.04235, algorithm 4), here over the kept weights alone. For a vector
    this is the second moment of each element. The momentum is that of Adam, in the parameter's precision.

    Attributes:
        parameter: trained in place, [..., out, in] or [n].
        kept: number of weights that are trained.
    """

    def __init__(self, parameter: Tensor, is_pruned: bool) -> None:
        """Begin with empty averages.

        Args:
            parameter: to train.
            is_pruned: whether its zeros stay zero.
        """
        self.parameter = parameter
        self._is_pruned = is_pruned
        values = parameter.detach()
        # [matrices, rows, columns]; a vector is a matrix of one row.
        self._values = values.view(-1, *values.shape[-2:]) if values.ndim >= 2 else values.view(1, 1, -1)
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
        self.kept = int(self._kept_of_rows.sum(dtype=torch.float64))
        squares = sum(matrix.float().square().sum(dtype=torch.float64) for matrix in self._values)
        self._size = torch.as_tensor(squares / max(1, self.kept)).sqrt()
        # Numbers below the smallest normal one may be flushed to zero; of float16 they are too large to skip.
        self._smallest = _SMALLEST_HALF if values.dtype == torch.float16 else torch.finfo(values.dtype).tiny

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

    def step(self, gradient: Tensor, rate: float, steps: int) -> None:
        """Make a step.

        Args:
            gradient: of the parameter's shape.
            rate: width of the step, as a share of the root mean square of the kept weights at the start.
            steps: number of this step, from 1.
        """
        gradients = gradient.view_as(self._values)
        for matrix in range(len(self._values)):
            self._average_squares(matrix, gradients[matrix])
            self._move(matrix, gradients[matrix], rate, steps)

    def _average_squares(self, matrix: int, gradients: Tensor) -> None:
        columns = torch.zeros_like(self._columns[matrix])
        for rows in self._blocks():
            squares = self._of_kept(matrix, rows, gradients[rows].float().square())
            columns += squares.sum(dim=0)
            mean = squares.sum(dim=1) / self._kept_of_rows[matrix, rows].clamp_min(1)
            self._rows[matrix, rows].lerp_(mean, 1 - SQUARES)
        self._columns[matrix].lerp_(columns / self._kept_of_columns[matrix].clamp_min(1), 1 - SQUARES)

    def _move(self, matrix: int, gradients: Tensor, rate: float, steps: int) -> None:
        kept = self._kept_of_rows[matrix]
        mean = (self._rows[matrix] * kept).sum() / kept.sum().clamp_min(1)
        of_rows = self._rows[matrix].clamp_min(_SMALLEST_SQUARE).rsqrt() * mean.sqrt()
        of_columns = self._columns[matrix].clamp_min(_SMALLEST_SQUARE).rsqrt()
        width = rate * float(self._size) * (1 - SQUARES**steps) ** 0.5 / (1 - MOMENTUM**steps)
        for rows in self._blocks():
            values = self._values[matrix, rows]
            momentum = self._momentum[matrix, rows]
            gradient = self._of_kept(matrix, rows, gradients[rows].float())
            average = torch.lerp(momentum.float(), gradient, 1 - MOMENTUM)
            momentum.copy_(average)
            average.mul_(of_rows[rows, None]).mul_(of_columns[None, :])
            exact = values.float() if self._residual is None else values.float() + self._residual[matrix, rows]
            moved = self._of_kept(matrix, rows, exact.sub_(average, alpha=width))
            rounded = moved.to(values.dtype)
            if self._is_pruned:
                rounded.masked_fill_((rounded == 0) & (values != 0), self._smallest)
            if self._residual is not None:
                self._residual[matrix, rows] = (moved - rounded.float()).to(values.dtype)
            values.copy_(rounded)

    def _of_kept(self, matrix: int, rows: slice, values: Tensor) -> Tensor:
        """Values of some rows, with zeros where the weight is pruned."""
        return values.mul_(self._values[matrix, rows] != 0) if self._is_pruned else values

    def _blocks(self) -> list[slice]:
        _, rows, columns = self._values.shape
        weights = WEIGHTS_PER_BLOCK.get(self._values.device.type, WEIGHTS_PER_BLOCK_ON_GPU)
        height = max(1, weights // columns)
        return [slice(start, start + height) for start in range(0, rows, height)]
