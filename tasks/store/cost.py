"""What a stage costs: seconds and peak memory."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

_SECONDS_BETWEEN_SAMPLES = 0.05


@dataclass
class Cost:
    """Filled in when the measured body ends.

    Attributes:
        seconds: wall-clock time.
        peak_memory_bytes: highest resident memory of the process, sampled, plus PyTorch's peak on each CUDA device.
    """

    seconds: float = 0.0
    peak_memory_bytes: int = 0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the body."""
    cost = Cost()
    process = psutil.Process()
    ended = threading.Event()
    peak = process.memory_info().rss

    def sample() -> None:
        nonlocal peak
        while not ended.wait(_SECONDS_BETWEEN_SAMPLES):
            peak = max(peak, process.memory_info().rss)

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else range(0)
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)
    sampler = threading.Thread(target=sample, name="memory-sampler", daemon=True)
    started = time.perf_counter()
    sampler.start()
    try:
        yield cost
    finally:
        ended.set()
        sampler.join()
        cost.seconds = time.perf_counter() - started
        peak = max(peak, process.memory_info().rss)
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else range(0)
        cost.peak_memory_bytes = peak + sum(torch.cuda.max_memory_allocated(device) for device in devices)
