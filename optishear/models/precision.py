"""The working precision: in which dtype a model is computed, by what its device has instructions for.

A checkpoint is mostly stored in bfloat16. A processor without bfloat16 instructions emulates them: PyTorch then takes
five times as long for a forward pass as in float32, or longer. So ``auto`` is bfloat16 where the device has it, else
float32. It is never float16, whose largest number, 65504, is less than the activations of some models.

The instruction set decides. A measured product of matrices confirms it, and overrides it where it says clearly
otherwise. The decision is kept in ``OPTISHEAR_HOME``, so that it is the same in every run on one machine: it is part of
cache keys.
"""

import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import FileLock

from optishear.errors import InputError
from optishear.files import ensure_writable, write_text
from optishear.home import home_folder
from optishear.json_file import parse_json
from optishear.models.timed import timed

AUTO = "auto"
# The reason of a precision that was given by name.
GIVEN = "as given"
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# How many times as fast the other dtype has to be, measured, to be taken against what the instruction set says. Far
# beyond the noise of a busy machine; an emulated dtype takes five times as long or more.
CLEARLY_FASTER = 1.5
# oneDNN's limits that leave it AVX-512 without bfloat16 (https://uxlfoundation.github.io/oneDNN, "CPU Dispatcher
# Control"). Below them PyTorch itself says that oneDNN has no bfloat16.
_ONEDNN_WITHOUT_BFLOAT16 = ("avx512_core", "avx512_core_vnni")
_ATEN_WITHOUT_AVX512 = ("DEFAULT", "NO AVX", "AVX", "AVX2")
_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
# The product that is measured: tokens, inputs, outputs. On a CPU, an MLP layer of SmolLM2-135M; a GPU needs more to be
# busy with.
_CPU_PRODUCT, _GPU_PRODUCT = (128, 576, 1536), (2048, 4096, 4096)
_SECONDS = 0.05

logger = logging.getLogger("optishear.precision")


@dataclass(frozen=True)
class Processor:
    """What computes.

    Attributes:
        name: of the CPU or GPU.
        instruction_set: what it has for matrix products, in words; with the limits that the environment sets.
        native_bfloat16: whether it has instructions for bfloat16 that may be used.
    """

    name: str
    instruction_set: str
    native_bfloat16: bool


@dataclass(frozen=True)
class Precision:
    """In which dtype a model is computed, and why.

    Attributes:
        dtype: float32, bfloat16 or float16.
        reason: in words, to be read after the dtype.
    """

    dtype: str
    reason: str

    @property
    def torch_dtype(self) -> torch.dtype:
        """PyTorch's dtype of that name."""
        return DTYPES[self.dtype]

    def __str__(self) -> str:
        return f"{self.dtype} ({self.reason})"


@dataclass(frozen=True)
class _Decision:
    """What ``auto`` is on a processor; ``bfloat16_time`` is a product's time in bfloat16, in float32 it is 1."""

    dtype: str
    bfloat16_time: float


_announced: dict[str, Precision] = {}


def choose_precision(dtype: str, device: torch.device) -> Precision:
    """The dtype to compute in on a device; ``auto`` is what is fast there.

    Args:
        dtype: auto, float32, bfloat16 or float16.
        device: what computes.

    Raises:
        InputError: if the dtype is unknown.
    """
    check_dtype(dtype)
    if dtype != AUTO:
        return given_precision(dtype)
    processor = processor_of(device)
    decision = _decide(processor, device)
    return Precision(decision.dtype, _reason(processor, decision))


def given_precision(dtype: str) -> Precision:
    """The precision of a dtype that was given by name."""
    return Precision(dtype, GIVEN)


def _reason(processor: Processor, decision: _Decision) -> str:
    does = "has instructions for" if processor.native_bfloat16 else "emulates"
    comparison = f"a matrix product takes {decision.bfloat16_time:.2g} times as long in bfloat16 as in float32"
    expected = "bfloat16" if processor.native_bfloat16 else "float32"
    link = "and" if decision.dtype == expected else "but"
    return f"{processor.name} with {processor.instruction_set} {does} bfloat16, {link} {comparison}"


def check_dtype(dtype: str) -> None:
    """Refuse an unknown dtype.

    Raises:
        InputError: naming it and the known ones.
    """
    if dtype != AUTO and dtype not in DTYPES:
        raise InputError(f"The dtype {dtype!r} is unknown; choose one of {', '.join((AUTO, *DTYPES))}.")


def announce(precision: Precision) -> None:
    """Write the precision to the log, once in a process.

    A stage gets the dtype that ``auto`` stands for by its name; the reason has been written then.
    """
    if precision.dtype not in _announced or (precision.reason != GIVEN and precision not in _announced.values()):
        _announced[precision.dtype] = precision
        logger.info("Working precision: %s", precision)


@functools.cache
def warn_if_emulated(dtype: str, device: torch.device) -> None:
    """Warn in the log, once in a process, if bfloat16 was given on a device that is faster in float32."""
    if dtype != "bfloat16":
        return
    processor = processor_of(device)
    decision = _decide(processor, device)
    if decision.dtype == "float32":
        logger.warning(
            "bfloat16 is emulated on %s (%s) and takes %.2g times as long as float32; dtype auto or float32 is faster.",
            processor.name,
            processor.instruction_set,
            decision.bfloat16_time,
        )


def processor_of(device: torch.device) -> Processor:
    """Name and instructions of a device.

    ``ATEN_CPU_CAPABILITY`` and ``ONEDNN_MAX_CPU_ISA`` limit what PyTorch uses of a CPU, and count.
    """
    if device.type == "cuda":
        return _gpu(device)
    has = torch.cpu.get_capabilities()
    name = str(has.get("cpu_name") or has.get("architecture") or "CPU")
    if has.get("architecture") != "x86_64":
        native = bool(has.get("bf16") or has.get("sve_bf16")) and _onednn_has_bfloat16()
        return Processor(name, f"{has.get('architecture')}{' BF16' if native else ''}", native)
    instruction_set = _x86_instruction_set(has)
    limits = [f"{variable}={os.environ[variable]}" for variable in _LIMITS if os.environ.get(variable)]
    if limits:
        instruction_set += f" limited by {' and '.join(limits)}"
    native = bool(has.get("amx_bf16") or has.get("avx512_bf16")) and _aten_has_avx512() and _onednn_has_bfloat16()
    return Processor(name, instruction_set, native)


def _x86_instruction_set(has: Mapping[str, object]) -> str:
    for words, capability in (
        ("AMX BF16", "amx_bf16"),
        ("AVX-512 BF16", "avx512_bf16"),
        ("AVX-512", "avx512_f"),
        ("AVX2", "avx2"),
    ):
        if has.get(capability):
            return words
    return "SSE"


def _aten_has_avx512() -> bool:
    """Whether PyTorch's own kernels may use AVX-512."""
    return torch.backends.cpu.get_cpu_capability() not in _ATEN_WITHOUT_AVX512


def _onednn_has_bfloat16() -> bool:
    """Whether oneDNN, which multiplies matrices of bfloat16 on a CPU, may use instructions for it."""
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    return limit.lower() not in _ONEDNN_WITHOUT_BFLOAT16


def _gpu(device: torch.device) -> Processor:
    name = torch.cuda.get_device_name(device)
    if torch.version.hip:
        return Processor(name, "ROCm", True)
    major, minor = torch.cuda.get_device_capability(device)
    return Processor(name, f"compute capability {major}.{minor}", major >= 8)


_decisions: dict[Processor, _Decision] = {}


def _decide(processor: Processor, device: torch.device) -> _Decision:
    """The decision for a processor, from this process, else from the home folder, else measured and stored."""
    if processor not in _decisions:
        _decisions[processor] = _stored_decision(processor, device)
    return _decisions[processor]


def _stored_decision(processor: Processor, device: torch.device) -> _Decision:
    # Another version of PyTorch has other kernels.
    identity = json.dumps({**asdict(processor), "torch": torch.__version__}, sort_keys=True)
    file = home_folder() / "precision" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    try:
        ensure_writable(file.parent)
    except InputError:  # a library on a home that cannot be written decides in each process
        return _measured_decision(processor, device)
    with FileLock(file.with_suffix(".lock")):
        with suppress(OSError, ValueError, KeyError, TypeError):  # not there, or damaged
            return _read_decision(file)
        decision = _measured_decision(processor, device)
        write_text(file, json.dumps({**asdict(processor), "torch": torch.__version__, **asdict(decision)}, indent=1))
        return decision


def _read_decision(file: Path) -> _Decision:
    content = parse_json(file.read_bytes())
    if content["dtype"] not in DTYPES:
        raise ValueError(content["dtype"])
    return _Decision(content["dtype"], float(content["bfloat16_time"]))


def _measured_decision(processor: Processor, device: torch.device) -> _Decision:
    """The dtype of the instruction set, unless the other one is measured to be clearly faster."""
    ratio = bfloat16_time(device)
    if processor.native_bfloat16:
        return _Decision("float32" if ratio > CLEARLY_FASTER else "bfloat16", ratio)
    return _Decision("bfloat16" if ratio < 1 / CLEARLY_FASTER else "float32", ratio)


def bfloat16_time(device: torch.device) -> float:
    """A matrix product's measured time in bfloat16, as a multiple of that in float32; takes a fraction of a second."""
    shape = _GPU_PRODUCT if device.type == "cuda" else _CPU_PRODUCT
    # In turn, so that what else the machine does meets both.
    rounds = [[product_seconds(dtype, device, *shape) for dtype in ("float32", "bfloat16")] for _ in range(2)]
    in_float32, in_bfloat16 = (min(times) for times in zip(*rounds, strict=True))
    return float(f"{in_bfloat16 / in_float32:.3g}")


@torch.no_grad()
def product_seconds(dtype: str, device: torch.device, tokens: int, inputs: int, outputs: int) -> float:
    """Seconds that a linear layer takes, the least of all measurements in a twentieth of a second.

    Args:
        dtype: float32, bfloat16 or float16.
        device: what computes.
        tokens: rows of the layer's input.
        inputs: width of the layer's input.
        outputs: width of its output.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, inputs, generator=generator).to(device, DTYPES[dtype])
    weight = torch.randn(outputs, inputs, generator=generator).to(device, DTYPES[dtype])
    product = functools.partial(torch.nn.functional.linear, x, weight)
    product()  # the first one also chooses a kernel
    ends = time.perf_counter() + _SECONDS
    least = timed([device], product)[0]
    while time.perf_counter() <= ends:
        least = min(least, timed([device], product)[0])
    return least
