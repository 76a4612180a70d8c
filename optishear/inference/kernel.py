"""The compiled kernels: packed weights times a vector, and packed weights made dense.

They are C, compiled once on the machine by its own compiler and kept in ``home_folder()/kernels``.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from optishear.files import write_aside
from optishear.home import home_folder

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
            *_pointers(mask, values, starts, x, y), ctypes.c_int64(rows), ctypes.c_int64(words)
        )

    def expand(self, mask: Tensor, values: Tensor, starts: Tensor) -> Tensor:
        """The dense weight, [rows, inputs]."""
        rows, words = mask.shape
        dense = torch.empty(rows, words * WORD, dtype=values.dtype)
        getattr(self.library, f"expand_{_NAMES[values.dtype]}")(
            *_pointers(mask, values, starts, dense), ctypes.c_int64(rows), ctypes.c_int64(words)
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
    features = _processor_features()
    return [variant for variant, (needed, _) in _VARIANTS.items() if needed <= features]


def compiled(variant: str) -> Kernel | None:
    """A variant, compiled on its first use; ``None`` if the compiler is missing or refuses."""
    source = files("optishear.inference").joinpath(f"kernel_{variant}.c").read_bytes()
    command = [
        os.environ.get("CC", "cc"), "-O3", "-std=gnu11", "-shared", "-fPIC", "-fopenmp", *_VARIANTS[variant][1]
    ]  # fmt: skip
    # PyTorch's own OpenMP where it brings one, so that both share their threads and not only the cores.
    own = sorted(Path(torch.__file__).parent.joinpath("lib").glob("libgomp*.so*"))
    link = ["-Wl,--no-as-needed", str(own[0]), "-Wl,--as-needed"] if own else []
    identity = hashlib.sha256(source + "\0".join([*command, *link]).encode()).hexdigest()[:16]
    library = home_folder().absolute() / "kernels" / f"{variant}-{identity}.so"
    if not library.is_file() and not _compile(source, command, link, library):
        return None
    try:
        return Kernel(variant, ctypes.CDLL(str(library)))
    except OSError as error:
        logger.warning("The sparse kernel %s cannot be loaded (%s).", library.name, error)
        return None


def _compile(source: bytes, command: list[str], link: list[str], library: Path) -> bool:
    if shutil.which(command[0]) is None:
        return False
    with TemporaryDirectory() as folder:
        built = Path(folder) / library.name
        process = subprocess.run(
            [*command, "-x", "c", "-", "-x", "none", *link, "-o", built], input=source, capture_output=True, check=False
        )
        if process.returncode:
            logger.warning(
                "The sparse kernel does not compile: %s", process.stderr.decode(errors="replace").strip()[:500]
            )
            return False
        with write_aside(library) as aside:
            shutil.copyfile(built, aside)
    return True


def _processor_features() -> set[str]:
    if platform.machine() not in ("x86_64", "AMD64"):
        return set()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").partition(":")[2].split())


def _pointers(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
