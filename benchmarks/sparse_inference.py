"""What the packed layers bring in decoding token by token on a CPU, against PyTorch's dense layers.

    python benchmarks/sparse_inference.py --threads 1

First one matrix times one vector, for SmolLM2-135M's shapes and bigger ones: PyTorch dense in bfloat16 and float32,
PyTorch CSR, SciPy CSR, and this project's kernels; the packed matrix without any zero shows what is due to the kernel
rather than to the sparsity. Each arm goes through enough copies of its matrix that no cache holds them all. Then the
real model, whole, token by token: dense bfloat16, dense float32, and packed bfloat16.

All arms are timed in turn, again and again, so that a machine whose speed drifts treats them alike. Of a
matrix the least time is compared, since what else runs on a machine only ever adds some; of the model the median. A
ratio is against the better of the two dense arms.
"""

import argparse
import copy
import json
import statistics
import time
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import model_and_tokenizer, parser
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from optishear.formats.bitmask import pack
from optishear.inference.decode import decode
from optishear.inference.footprint import memory_bytes
from optishear.inference.kernel import Kernel, compiled, runnable_variants
from optishear.inference.pack_layers import pack_layers
from optishear.inference.sparse_linear import SparseLinear
from optishear.models.layers import prunable_layers

SHAPES = [(576, 576), (1536, 576), (576, 1536), (4096, 4096), (11008, 4096)]
TARGET = 1.2
# Of copies in bfloat16; several times what a level 3 cache holds.
BYTES = 200e6


def prune(weight: Tensor, sparsity: float) -> None:
    """Set the smallest of each row to zero."""
    pruned = weight.float().abs().argsort(dim=1)[:, : round(sparsity * weight.shape[1])]
    weight.scatter_(1, pruned, 0)


def packed_copies(weight: Tensor, kernel: Kernel, count: int) -> list[SparseLinear]:
    layer = SparseLinear(pack(weight), weight.shape[0], None, kernel)
    return [copy.deepcopy(layer) for _ in range(count)]


def in_turn(arms: dict[str, Callable[[int], object]], repeats: int, inner: int) -> dict[str, float]:
    """Least seconds of one call of each arm."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(repeats + 1):
        for name, arm in arms.items():
            arm(repeat * inner)  # brings the code back that the arms before have driven out of the caches
            started = time.perf_counter()
            for index in range(1, inner + 1):
                arm(repeat * inner + index)
            times[name].append((time.perf_counter() - started) / inner)
    return {name: min(values[1:]) for name, values in times.items()}


def one_matrix(rows: int, columns: int, sparsity: float, kernels: list[Kernel], repeats: int) -> dict[str, float]:
    """Least microseconds of each arm."""
    dense = torch.randn(rows, columns, dtype=torch.bfloat16)
    full = dense.clone()
    prune(dense, sparsity)
    copies = max(2, int(BYTES // dense.nbytes))
    x = torch.randn(1, columns, dtype=torch.bfloat16)
    wide, vector = x.float(), x.float()[0].numpy()
    column = wide.T.contiguous()
    bfloat16 = [dense.clone() for _ in range(copies)]
    float32 = [dense.float() for _ in range(copies)]
    csr_of_all = csr_matrix(dense.float().numpy())
    csr = [csr_of_all.copy() for _ in range(copies)]
    torch_csr = [
        torch.sparse_csr_tensor(matrix.indptr, matrix.indices, matrix.data, size=(rows, columns)) for matrix in csr
    ]
    arms: dict[str, Callable[[int], object]] = {
        "dense bfloat16": lambda index: F.linear(x, bfloat16[index % copies]),
        "dense float32": lambda index: F.linear(wide, float32[index % copies]),
        "torch CSR": lambda index: torch_csr[index % copies] @ column,
        "SciPy CSR": lambda index: csr[index % copies] @ vector,
    }
    for kernel in kernels:
        for name, weight, inputs in (
            (f"{kernel.variant} bfloat16", dense, x),
            (f"{kernel.variant} float32", dense.float(), wide),
            (f"{kernel.variant} bfloat16 without zeros", full, x),
        ):
            layers = packed_copies(weight, kernel, copies)
            arms[name] = lambda index, layers=layers, inputs=inputs: layers[index % copies](inputs)  # type: ignore[misc]
    times = in_turn(arms, repeats, max(1, int(1e7 // (rows * columns))))
    return {name: round(1e6 * seconds, 1) for name, seconds in times.items()}


def ratios(times: dict[str, float]) -> dict[str, float]:
    """How many times faster than the better dense arm."""
    best = min(times["dense bfloat16"], times["dense float32"])
    return {name: round(best / value, 2) for name, value in times.items() if not name.startswith("dense")}


@torch.no_grad()
def pruned_model(model: PreTrainedModel, sparsity: float) -> PreTrainedModel:
    pruned = copy.deepcopy(model)
    for layer in prunable_layers(pruned):
        prune(layer.module.weight, sparsity)
    return pruned


def real_model(dense: PreTrainedModel, sparsity: float, kernel: Kernel, rounds: int) -> dict[str, float]:
    """Median milliseconds of a token of each arm, and the packed model's share of the dense one's memory."""
    bfloat16 = pruned_model(dense, sparsity)
    packed = copy.deepcopy(bfloat16)
    pack_layers(packed, kernel)
    arms = {"dense bfloat16": bfloat16, "dense float32": copy.deepcopy(bfloat16).float(), "packed bfloat16": packed}
    prompt = torch.arange(16)[None]
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, model in arms.items():
            times[name] += decode(model, prompt, 9).seconds[1:]
    milliseconds = {name: round(1e3 * statistics.median(values), 2) for name, values in times.items()}
    return milliseconds | {"memory_ratio": round(memory_bytes(packed) / memory_bytes(bfloat16), 3)}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=1, help="threads of PyTorch and of the kernels")
    options.add_argument("--sparsities", type=float, nargs="*", default=[0.5, 0.6, 0.7, 0.8])
    options.add_argument("--matrix-sparsities", type=float, nargs="*", default=[0.6], help="for the single matrices")
    options.add_argument("--repeats", type=int, default=9, help="counted rounds of the single matrices")
    options.add_argument("--rounds", type=int, default=5, help="of nine tokens with the real model")
    arguments: argparse.Namespace = options.parse_args()
    warnings.filterwarnings("ignore", message="Sparse")
    torch.set_num_threads(arguments.threads)
    kernels = [kernel for variant in runnable_variants() if (kernel := compiled(variant)) is not None]
    if not kernels:
        raise SystemExit("This machine has no sparse kernel: it needs Linux, a C compiler, and AVX2 or AVX-512.")

    matrices: dict[str, dict[str, float]] = {}
    for sparsity in arguments.matrix_sparsities:
        for rows, columns in SHAPES:
            times = one_matrix(rows, columns, sparsity, kernels, arguments.repeats)
            matrices[f"{rows}x{columns} at {sparsity}"] = ratios(times)
            print(f"{rows} x {columns} at {sparsity:.0%}, microseconds: {times}", flush=True)

    dense, _ = model_and_tokenizer(arguments)
    dense = dense.to(torch.bfloat16)
    assert isinstance(dense, nn.Module)
    speed_ups: dict[str, float] = {}
    memory: dict[str, float] = {}
    for sparsity in arguments.sparsities:
        milliseconds = real_model(dense, sparsity, kernels[0], arguments.rounds)
        better = min(milliseconds["dense bfloat16"], milliseconds["dense float32"])
        speed_ups[str(sparsity)] = round(better / milliseconds["packed bfloat16"], 2)
        memory[str(sparsity)] = milliseconds["memory_ratio"]
        print(f"{arguments.model} at {sparsity:.0%}, milliseconds a token: {milliseconds}", flush=True)
    print(
        json.dumps(
            {
                "decoding_speed_up": speed_ups,
                "target": {"0.6": TARGET},
                "memory_ratio": memory,
                "matrix_speed_up": matrices,
                "kernel": kernels[0].variant,
                "threads": arguments.threads,
            }
        )
    )


if __name__ == "__main__":
    main()
