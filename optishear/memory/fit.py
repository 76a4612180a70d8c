"""Whether a stage fits the memory of its device; if not, it is refused before any weight is loaded."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from optishear.errors import InputError
from optishear.memory.need import Need
from optishear.models.memory import free_memory
from optishear.units import format_bytes

logger = logging.getLogger("optishear.stages")


def room(device: torch.device) -> int | None:
    """Bytes that are free on a device; ``None`` where that is unknown."""
    try:
        return free_memory(device)
    except (RuntimeError, OSError) as error:  # a driver without the query, or a container without /proc
        logger.warning("The free memory of %s is unknown (%s); the stage goes on without a plan.", device, error)
        return None


def least_room(held: Mapping[torch.device, int], models: int = 1) -> int | None:
    """Bytes that a stage may take on each device of its model: of the device that has fewest; ``None`` if unknown.

    Args:
        held: bytes on each device that are the stage's already, such as those of its model's weights.
        models: number of models that share what is free.
    """
    found = []
    for device, size in held.items():
        free = room(device)
        if free is None:
            return None
        found.append(free // models + size)
    return min(found)


def fitting_batch(batch_size: int, need: Callable[[int], Need], free: int | None) -> tuple[int, Need]:
    """The batch size, halved until the stage fits or one sequence is left, and the need with it.

    Args:
        batch_size: sequences of a pass, if memory allows it.
        need: of the stage with so many sequences of a pass.
        free: bytes that the stage may take; ``None`` where that is unknown.
    """
    size = batch_size
    while free is not None and size > 1 and need(size).total > free:
        size //= 2
    planned = need(size)
    if size < batch_size:
        planned = replace(planned, ways=(*planned.ways, f"{size} instead of {batch_size} sequences per pass"))
    return size, planned


def check_need(need: Need, device: torch.device, free: int | None, model: str, fix: str = "") -> None:
    """Refuse a stage that cannot fit.

    Args:
        need: of the stage.
        device: of the stage.
        free: bytes that it may take there; ``None`` is not compared.
        model: its name, for the message.
        fix: what to change, beside the model and the machine.

    Raises:
        InputError: names the stage, its need, the device's memory and the fix.
    """
    is_cpu = device.type == "cpu"
    parts = {**need.parts, **(need.host if is_cpu else {})}
    needed = sum(parts.values())
    if free is not None and needed > free:
        sizes = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items())
        raise InputError(
            f"The stage {need.stage} of the model {model!r} needs {format_bytes(needed)} ({sizes}), and "
            f"{format_bytes(free)} of the {'machine' if is_cpu else 'GPU'}'s memory are free; "
            f"{f'{fix}, or ' if fix else ''}take a smaller model or a {'machine' if is_cpu else 'GPU'} with more."
        )


def log_ways(need: Need, free: int | None) -> None:
    """Log how a stage does its work that is short of memory."""
    if need.ways and free is not None:
        ways = " and ".join(need.ways)
        logger.warning("%s: %s of memory are free; the stage works with %s.", need.stage, format_bytes(free), ways)
