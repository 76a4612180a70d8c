"""A linear layer that keeps its weights packed in memory and multiplies them as they are, on a CPU."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from optishear.formats.bitmask import Bitmask, is_smaller_packed, pack
from optishear.inference.kernel import PADDING_BYTES, WORD, Kernel, supports

# Up to so many tokens at once, each is multiplied with the packed weights; beyond, the weights are made dense for the
# moment, which costs about as much as two products.
_FEW_TOKENS = 4
_CPU = torch.device("cpu")


class SparseLinear(nn.Module):
    """Replacement of a pruned ``nn.Linear``, for inference.

    Attributes:
        mask: [out, in / 32] int32; bit i % 32 of word i // 32 says whether input i of the row is kept.
        values: the kept weights in row-major order, and padding.
        starts: [out] int64, where each row's values begin.
        bias: [out] or ``None``.
    """

    mask: Tensor
    values: Tensor
    starts: Tensor
    bias: Tensor | None

    def __init__(self, packed: Bitmask, rows: int, bias: Tensor | None, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel
        mask = packed.bits.view(torch.int32).view(rows, -1)
        bits = np.bitwise_count(packed.bits.view(rows, -1).numpy())
        counts = torch.from_numpy(bits.sum(axis=1, dtype=np.int64))
        padding = torch.zeros(PADDING_BYTES // packed.values.dtype.itemsize, dtype=packed.values.dtype)
        self.register_buffer("mask", mask)
        self.register_buffer("values", torch.cat([packed.values, padding]))
        self.register_buffer("starts", counts.cumsum(0) - counts)
        self.register_buffer("bias", bias)
        self.out_features, self.in_features = rows, mask.shape[1] * WORD

    @property
    def weight(self) -> Tensor:
        """The dense weight [out, in], expanded at each access."""
        return self.kernel.expand(self.mask, self.values, self.starts)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, [..., out], for inputs [..., in] of the weights' dtype.

        Raises:
            TypeError: if inputs and weights are not both on the CPU and of one dtype.
        """
        if x.dtype != self.values.dtype or not x.device == self.values.device == _CPU:
            raise TypeError(
                f"A packed layer needs {self.values.dtype} on the CPU and got {x.dtype} on {x.device} with its weights "
                f"on {self.values.device}."
            )
        tokens = x.numel() // self.in_features
        if tokens > _FEW_TOKENS:
            return F.linear(x, self.weight, self.bias)
        rows = x.reshape(tokens, self.in_features).contiguous()
        y = torch.empty(tokens, self.out_features, dtype=x.dtype)
        for token in range(tokens):
            self.kernel.matvec(self.mask, self.values, self.starts, rows[token], y[token])
        if self.bias is not None:
            y += self.bias
        return y.view(*x.shape[:-1], self.out_features)


def sparse_linear(linear: nn.Linear, kernel: Kernel) -> SparseLinear | None:
    """The packed form of a layer; ``None`` if it would not be smaller, or the kernel does not support it."""
    weight = linear.weight.detach()
    fits = weight.device.type == "cpu" and supports(weight.dtype) and linear.in_features % WORD == 0
    if not fits or not is_smaller_packed(weight):
        return None
    return SparseLinear(pack(weight), linear.out_features, linear.bias, kernel)
