"""Seconds that work takes on a device."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def timed(device: torch.device, work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that the work takes on the device, from an idle device to its end, and its result."""
    _wait_for(device)
    started = time.perf_counter()
    result = work()
    _wait_for(device)
    return time.perf_counter() - started, result


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
