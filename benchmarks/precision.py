"""Tokens a second of forward passes in float32, in bfloat16, and in what dtype auto chooses.

    python benchmarks/precision.py
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/precision.py   # as a processor without bfloat16

The three are timed in turn, in changing order, so that a machine whose speed drifts treats them alike, and the least of
each counts. On a CPU that is CPU time, which other work on the machine changes less than the time that passes. A dtype
that has used up its seconds drops out after three passes.
"""

import argparse
import json
import time

import torch
from common import MODEL
from transformers.modeling_utils import PreTrainedModel

from optishear.models.devices import resolve_device
from optishear.models.load import load_model
from optishear.models.precision import processor_of

TARGET = 0.95
PASSES = 3
DTYPES = ("float32", "bfloat16", "auto")


@torch.no_grad()
def seconds(model: PreTrainedModel, tokens: torch.Tensor) -> float:
    """Seconds of a forward pass: CPU time of all threads on a CPU, time that passes on a GPU."""
    on_gpu = model.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    started = clock()
    model(tokens, use_cache=False)
    if on_gpu:
        torch.cuda.synchronize(model.device)
    return clock() - started


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default=MODEL, help="the dense model")
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options.add_argument("--tokens", type=int, default=128, help="tokens of a forward pass")
    options.add_argument("--seconds", type=float, default=10.0, help="of counted passes, for each dtype")
    arguments = options.parse_args()
    device = resolve_device(arguments.device)
    processor = processor_of(device)
    loaded = {dtype: load_model(arguments.model, dtype=dtype, device=arguments.device) for dtype in DTYPES}
    vocabulary = loaded["auto"].model.config.get_text_config().vocab_size
    tokens = torch.arange(arguments.tokens, device=device)[None] * 7919 % vocabulary
    for dtype in DTYPES:
        seconds(loaded[dtype].model, tokens)
    times: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    remaining = list(DTYPES)
    while remaining:
        remaining = [
            dtype for dtype in remaining if len(times[dtype]) < PASSES or sum(times[dtype]) < arguments.seconds
        ]
        for dtype in remaining:
            times[dtype].append(seconds(loaded[dtype].model, tokens))
        remaining = remaining[1:] + remaining[:1]
    least = {dtype: min(samples) for dtype, samples in times.items()}
    rates = {dtype: round(arguments.tokens / time, 1) for dtype, time in least.items()}
    print(f"{processor.name} with {processor.instruction_set}: {loaded['auto'].precision}")
    print(", ".join(f"{dtype} {rate} tokens/s" for dtype, rate in rates.items()))
    result = {
        "processor": processor.name,
        "instruction_set": processor.instruction_set,
        "auto": loaded["auto"].precision.dtype,
        "auto_ratio": round(min(least["float32"], least["bfloat16"]) / least["auto"], 3),
        "target": TARGET,
        "tokens_per_second": rates,
        "clock": "time that passes" if device.type == "cuda" else "CPU time",
        "tokens": arguments.tokens,
        "passes": {dtype: len(samples) for dtype, samples in times.items()},
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
