"""Blocks of a matrix that are computed at a time, so that their temporary tensors stay in a processor's cache."""

import torch
from torch import Tensor

# Rows and columns of a block are multiples of it where there are enough. PyTorch's vector functions round what is left
# behind their last whole step (up to 64 numbers) in another way, so that other blocks would give other last digits.
ALIGNMENT = 64
# Of one CPU thread: scores of 2 MiB.
_CPU_WEIGHTS = 2**19
# Of a GPU, which needs a few million numbers to be busy, and which waits some microseconds for each kernel. Scores of
# 8 MiB with weights, mask and result take some 24 MiB: an A100 has a cache (L2) of 40 MiB, an H100 of 50, an RTX 4090
# of 72.
_GPU_WEIGHTS = 2**21


def row_blocks(matrix: Tensor) -> list[slice]:
    """Slices of the rows of a matrix."""
    height, width = matrix.shape
    return _slices(height, width, matrix.device)


def column_blocks(matrix: Tensor) -> list[slice]:
    """Slices of the columns of a matrix."""
    height, width = matrix.shape
    return _slices(width, height, matrix.device)


def _slices(length: int, other: int, device: torch.device) -> list[slice]:
    weights = _CPU_WEIGHTS if device.type == "cpu" else _GPU_WEIGHTS
    step = max(1, weights // other // ALIGNMENT) * ALIGNMENT
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]
