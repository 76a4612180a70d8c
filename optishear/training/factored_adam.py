"""Adam on one parameter, with its second moments factored into rows and columns."""

import torch
from torch import Tensor

# Decay of the averages of gradients and of their squares, each step.
MOMENTUM, SQUARES = 0.9, 0.95
# Weights that are updated at a time: on a CPU what fits its caches, on a GPU few enough for small temporaries.
WEIGHTS_PER_BLOCK = {"cpu": 2**18}
WEIGHTS_PER_BLOCK_ON_GPU = 2**24
_SMALLEST_SQUARE = 1e-38
# The smallest normal number of float32 and of bfloat16, far below the precision of any weight; and of float16, whose
# smallest numbers are not.
_SMALLEST = float(torch.finfo(torch.float32).tiny)
_SMALLEST_HALF = 2.0**-24


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
        for matrix in range(len(self._values)):
            self._average_squares(matrix, gradients[matrix])
            self._move(matrix, gradients[matrix], rate, steps)

    def _average_squares(self, matrix: int, gradients: Tensor) -> None:
        columns = torch.zeros_like(self._columns[matrix])
        for rows in self._blocks():
            gradient = self._of_kept(_copy(gradients[rows]), self._kept(matrix, rows))
            squares = gradient.mul_(gradient)
            columns += squares.sum(dim=0)
            mean = squares.sum(dim=1) / self._kept_of_rows[matrix, rows].clamp_min(1)
            self._rows[matrix, rows].lerp_(mean, 1 - self._decay)
        self._columns[matrix].lerp_(columns / self._kept_of_columns[matrix].clamp_min(1), 1 - self._decay)

    def _move(self, matrix: int, gradients: Tensor, rate: float, steps: int) -> None:
        kept_of_rows = self._kept_of_rows[matrix]
        mean = (self._rows[matrix] * kept_of_rows).sum() / kept_of_rows.sum().clamp_min(1)
        of_rows = self._rows[matrix].clamp_min(_SMALLEST_SQUARE).rsqrt() * mean.sqrt()
        of_columns = self._columns[matrix].clamp_min(_SMALLEST_SQUARE).rsqrt()
        width = rate * float(self._size) * (1 - self._decay**steps) ** 0.5 / (1 - MOMENTUM**steps)
        for rows in self._blocks():
            values, kept = self._values[matrix, rows], self._kept(matrix, rows)
            average = _copy(self._momentum[matrix, rows])
            average.lerp_(self._of_kept(_copy(gradients[rows]), kept), 1 - MOMENTUM)
            self._momentum[matrix, rows] = average
            average.mul_(of_rows[rows, None]).mul_(of_columns[None, :])
            exact = _copy(values)
            if self._residual is not None:
                exact.add_(self._residual[matrix, rows].float())
            exact = self._of_kept(exact.sub_(average, alpha=width), kept)
            # A kept weight at zero would be one that is pruned.
            if kept is not None:
                exact.add_(kept, alpha=_SMALLEST)
            values.copy_(exact)
            if kept is not None and values.dtype == torch.float16:
                values.masked_fill_((values == 0) & kept.bool(), _SMALLEST_HALF)
            if self._residual is not None:
                self._residual[matrix, rows] = exact.sub_(values.float())

    def _kept(self, matrix: int, rows: slice) -> Tensor | None:
        """Ones where weights are kept, in float32, since products with a bool are slow on a CPU; ``None`` for all."""
        return self._values[matrix, rows].float().sign().abs_() if self._is_pruned else None

    def _of_kept(self, values: Tensor, kept: Tensor | None) -> Tensor:
        """Values with zeros where the weight is pruned, in place."""
        return values if kept is None else values.mul_(kept)

    def _blocks(self) -> list[slice]:
        _, rows, columns = self._values.shape
        weights = WEIGHTS_PER_BLOCK.get(self._values.device.type, WEIGHTS_PER_BLOCK_ON_GPU)
        height = max(1, weights // columns)
        return [slice(start, start + height) for start in range(0, rows, height)]


def _copy(values: Tensor) -> Tensor:
    """A float32 copy."""
    return values.to(torch.float32, copy=True)
