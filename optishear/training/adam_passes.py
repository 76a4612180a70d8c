"""The two passes of a step of ``FactoredAdam`` over one matrix of weights, by PyTorch or compiled from C.

By PyTorch a step reads and writes each weight some thirty times; compiled, twice. On a CPU a step of 128 tokens then
takes about half as long as before.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from optishear.native.library import compiled_library, pointers
from optishear.native.processor import processor_features

# Weights that are updated at a time: on a CPU what fits its caches, on a GPU few enough for small temporaries.
WEIGHTS_PER_BLOCK = {"cpu": 2**18}
WEIGHTS_PER_BLOCK_ON_GPU = 2**24
# The smallest normal number of float32 and of bfloat16, far below the precision of any weight; and of float16, whose
# smallest numbers are not.
_SMALLEST = float(torch.finfo(torch.float32).tiny)
_SMALLEST_HALF = 2.0**-24
_DEFINITIONS = {torch.float32: ["-DFLOAT32"], torch.bfloat16: []}
# The processor's features that each variant needs, and the compiler's flags. The fastest comes first.
_VARIANTS: dict[str, tuple[set[str], list[str]]] = {
    "avx512": (
        {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
        ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"],
    ),
    "avx2": ({"avx2", "fma"}, ["-mavx2", "-mfma"]),
}


@dataclass(frozen=True)
class Matrix:
    """A matrix of weights in training; each tensor is [rows, columns], in one dtype.

    Attributes:
        weights: changed in place.
        momenta: changed in place.
        residuals: what the precision of the weights cannot hold, changed in place; ``None`` with float32.
        is_pruned: whether a weight of zero is pruned: it has no gradient, and stays zero.
    """

    weights: Tensor
    momenta: Tensor
    residuals: Tensor | None
    is_pruned: bool


class Passes(Protocol):
    """Both passes."""

    def sums_of_squares(self, matrix: Matrix, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of squared gradients of kept weights over each row [rows] and each column [columns], float32."""

    def move(
        self, matrix: Matrix, gradients: Tensor, of_rows: Tensor, of_columns: Tensor, width: float, fresh: float
    ) -> None:
        """Move the momenta and the weights.

        Args:
            matrix: changed in place.
            gradients: [rows, columns], in the weights' dtype.
            of_rows: factor of the momenta of each row, [rows] float32.
            of_columns: factor of those of each column, [columns] float32.
            width: factor of the step, which is the product of momentum and both factors.
            fresh: share of the gradient in the momentum.
        """


class TorchPasses:
    """By PyTorch, on any device."""

    def sums_of_squares(self, matrix: Matrix, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """As ``Passes`` has it."""
        rows, columns = gradients.shape
        of_rows = torch.empty(rows, device=gradients.device)
        of_columns = torch.zeros(columns, device=gradients.device)
        for block in _blocks(gradients):
            gradient = _of_kept(_copy(gradients[block]), _kept(matrix, block))
            squares = gradient.mul_(gradient)
            of_columns += squares.sum(dim=0)
            of_rows[block] = squares.sum(dim=1)
        return of_rows, of_columns

    def move(
        self, matrix: Matrix, gradients: Tensor, of_rows: Tensor, of_columns: Tensor, width: float, fresh: float
    ) -> None:
        """As ``Passes`` has it."""
        for block in _blocks(gradients):
            values, kept = matrix.weights[block], _kept(matrix, block)
            average = _copy(matrix.momenta[block])
            average.lerp_(_of_kept(_copy(gradients[block]), kept), fresh)
            matrix.momenta[block] = average
            average.mul_(of_rows[block, None]).mul_(of_columns[None, :])
            exact = _copy(values)
            if matrix.residuals is not None:
                exact.add_(matrix.residuals[block].float())
            exact = _of_kept(exact.sub_(average, alpha=width), kept)
            # A kept weight at zero would be one that is pruned.
            if kept is not None:
                exact.add_(kept, alpha=_SMALLEST)
            values.copy_(exact)
            if kept is not None and values.dtype == torch.float16:
                values.masked_fill_((values == 0) & kept.bool(), _SMALLEST_HALF)
            if matrix.residuals is not None:
                matrix.residuals[block] = exact.sub_(values.float())


@dataclass(frozen=True)
class CompiledPasses:
    """Compiled, for contiguous tensors on the CPU, in float32 or bfloat16."""

    library: ctypes.CDLL

    def sums_of_squares(self, matrix: Matrix, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """As ``Passes`` has it."""
        gradients = gradients.contiguous()
        rows, columns = gradients.shape
        height = _height(gradients)
        of_rows, of_columns = torch.empty(rows), torch.zeros(-(-rows // height), columns)
        self.library.sums_of_squares(
            *pointers(gradients, matrix.weights, of_rows, of_columns),
            *(ctypes.c_int64(size) for size in (rows, columns, height)),
            ctypes.c_int(matrix.is_pruned),
        )
        return of_rows, of_columns.sum(dim=0)

    def move(
        self, matrix: Matrix, gradients: Tensor, of_rows: Tensor, of_columns: Tensor, width: float, fresh: float
    ) -> None:
        """As ``Passes`` has it."""
        gradients, of_rows, of_columns = gradients.contiguous(), of_rows.contiguous(), of_columns.contiguous()
        # Float32 weights have no residuals, and any address does.
        residuals = matrix.weights if matrix.residuals is None else matrix.residuals
        self.library.move(
            *pointers(gradients, matrix.weights, residuals, matrix.momenta, of_rows, of_columns),
            *(ctypes.c_int64(size) for size in gradients.shape),
            *(ctypes.c_float(number) for number in (width, fresh, _SMALLEST)),
            ctypes.c_int(matrix.is_pruned),
        )


def passes_for(weights: Tensor) -> Passes:
    """The fastest passes for weights of this kind."""
    compiled = compiled_passes(weights.dtype) if weights.device.type == "cpu" and weights.is_contiguous() else None
    return compiled or TorchPasses()


@cache
def compiled_passes(dtype: torch.dtype) -> CompiledPasses | None:
    """Compiled passes for a dtype; ``None`` if this machine cannot run or compile any."""
    if dtype not in _DEFINITIONS:
        return None
    features = processor_features()
    for variant, (needed, flags) in _VARIANTS.items():
        if needed <= features:
            name, definitions = f"adam-{variant}", _DEFINITIONS[dtype]
            library = compiled_library("optishear.training", "factored_adam.c", name, [*flags, *definitions])
            if library is not None:
                return CompiledPasses(library)
    return None


def _blocks(values: Tensor) -> Iterator[slice]:
    height = _height(values)
    for start in range(0, len(values), height):
        yield slice(start, start + height)


def _height(values: Tensor) -> int:
    """Rows of a block."""
    return max(1, WEIGHTS_PER_BLOCK.get(values.device.type, WEIGHTS_PER_BLOCK_ON_GPU) // values.shape[1])


def _kept(matrix: Matrix, block: slice) -> Tensor | None:
    """Ones where weights are kept, in float32, since products with a bool are slow on a CPU; ``None`` for all."""
    return matrix.weights[block].float().sign().abs_() if matrix.is_pruned else None


def _of_kept(values: Tensor, kept: Tensor | None) -> Tensor:
    """Values with zeros where the weight is pruned, in place."""
    return values if kept is None else values.mul_(kept)


def _copy(values: Tensor) -> Tensor:
    """A float32 copy."""
    return values.to(torch.float32, copy=True)
