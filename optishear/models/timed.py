"""Seconds that work takes on its devices."""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def timed(devices: Iterable[torch.device], work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that the work takes on its devices, from when all of them are idle to its end, and its result."""
    gpus = [device for device in devices if device.type == "cuda"]
    _wait_for(gpus)
    started = time.perf_counter()
    result = work()
    _wait_for(gpus)
    return time.perf_counter() - started, result


def _wait_for(gpus: list[torch.device]) -> None:
    for gpu in gpus:
        torch.cuda.synchronize(gpu)
