"""The seven operations u and the seven coefficients c of the meta pruning metric (arXiv 2502.10735, table 1).

Every function here takes and returns float32 (or float64) tensors. Weights come as |W| [out, in]; activations
as one row [1, in]. Two choices differ from the letter of the paper, and neither changes an order that the
paper's form defines:

* ``log`` is log(1 + v). The plain logarithm is minus infinity at zero and negative below one, where multiplying
  by an activation would turn the order around.
* ``exp`` and ``softmax`` subtract the largest value of the tensor or of the row first. That is a factor which is
  constant in each row, so the mask is the same, and nothing overflows.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Operation = Literal["identity", "sqrt", "square", "exp", "log", "sigmoid", "softmax"]
Coefficient = Literal["none", "row_sum", "column_sum", "relative_sum", "sum", "mean", "frobenius"]


def _softmax(values: Tensor) -> Tensor:
    return torch.softmax(values, dim=-1)


def _exp(values: Tensor) -> Tensor:
    return (values - values.amax(dim=-1, keepdim=True)).exp_()


OPERATIONS: dict[Operation, Callable[[Tensor], Tensor]] = {
    "identity": lambda values: values,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "exp": _exp,
    "log": torch.log1p,
    "sigmoid": torch.sigmoid,
    "softmax": _softmax,
}

COEFFICIENTS: dict[Coefficient, Callable[[Tensor], Tensor]] = {
    "none": lambda values: torch.ones_like(values[:1, :1]),
    "row_sum": lambda values: 1 / values.sum(dim=1, keepdim=True),
    "column_sum": lambda values: 1 / values.sum(dim=0, keepdim=True),
    "relative_sum": lambda values: 1 / (values.sum(dim=1, keepdim=True) + values.sum(dim=0, keepdim=True)),
    "sum": lambda values: 1 / values.sum().reshape(1, 1),
    "mean": lambda values: 1 / values.mean().reshape(1, 1),
    "frobenius": lambda values: 1 / torch.linalg.matrix_norm(values).reshape(1, 1),
}
