"""The compiled kernels: packed weights times a vector, and packed weights made dense.

They are C, compiled once on the machine by its own compiler and kept in ``home_folder()/kernels``.
"""

import ctypes
import logging
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from optishear.native.library import compiled_library, pointers
from optishear.native.processor import processor_features

logger = logging.getLogger(__name__)

# The processor's features that each variant needs, as Linux names them, and the compiler's flags. The fastest
# comes first.
_VARIANTS: dict[str, tuple[set[str], list[str]]] = {
    "avx512": (
        {"avx512f", "avx512bw", "avx512_vbmi2", "avx512_bf16", "popcnt"},
        ["-mavx512f", "-mavx512bw", "-mavx512vbmi2", "-mavx512bf16", "-mpopcnt"],
    ),
    "avx2": ({"avx2", "fma", "popcnt"}, ["-mavx2", "-mfma", "-mpopcnt"]),
}
_NAMES = {torch.bfloat16: "bfloat16", torch.float32: "float32"}
# Bytes that the kernels may read behind the last value.
PADDING_BYTES = 64
# Inputs per mask word; a layer's width has to be a multiple.
WORD = 32


@dataclass(frozen=True)
class Kernel:
    """A loaded library; the dtypes are bfloat16 and float32, sums are float32.

    Below, ``mask`` is [rows, inputs / 32] int32, ``values`` [kept + padding] and ``starts`` [rows] int64.
    """

    variant: str
    library: ctypes.CDLL

    def matvec(self, mask: Tensor, values: Tensor, starts: Tensor, x: Tensor, y: Tensor) -> None:
        """Write the product of the packed weight and ``x`` [inputs] to ``y`` [rows]; all contiguous, on the CPU."""
        rows, words = mask.shape
        getattr(self.library, f"matvec_{_NAMES[values.dtype]}")(
            *pointers(mask, values, starts, x, y), ctypes.c_int64(rows), ctypes.c_int64(words)
        )

    def expand(self, mask: Tensor, values: Tensor, starts: Tensor) -> Tensor:
        """The dense weight, [rows, inputs]."""
        rows, words = mask.shape
        dense = torch.empty(rows, words * WORD, dtype=values.dtype)
        getattr(self.library, f"expand_{_NAMES[values.dtype]}")(
            *pointers(mask, values, starts, dense), ctypes.c_int64(rows), ctypes.c_int64(words)
        )
        return dense


def supports(dtype: torch.dtype) -> bool:
    """Whether the kernels support a dtype."""
    return dtype in _NAMES


@cache
def best_kernel() -> Kernel | None:
    """The fastest kernel that this machine runs and can compile; ``None`` if there is none, which is logged."""
    for variant in runnable_variants():
        kernel = compiled(variant)
        if kernel is not None:
            return kernel
    logger.info(
        "No sparse kernel on this machine (it needs Linux, a C compiler, and AVX2 or AVX-512 with VBMI2 and BF16); "
        "pruned layers run as dense ones."
    )
    return None


def runnable_variants() -> list[str]:
    """The variants that this processor runs, the fastest first."""
    features = processor_features()
    return [variant for variant, (needed, _) in _VARIANTS.items() if needed <= features]


def compiled(variant: str) -> Kernel | None:
    """A variant, compiled on its first use; ``None`` if the compiler is missing or refuses."""
    library = compiled_library("optishear.inference", f"kernel_{variant}.c", variant, _VARIANTS[variant][1])
    return None if library is None else Kernel(variant, library)
