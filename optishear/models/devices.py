"""The devices that a parameter names, and those that hold a model."""

import re

import torch
from torch import nn

from optishear.errors import InputError

# A model in parts on all GPUs that PyTorch sees.
SHARD = "shard"
# A model of which one decoder block at a time is read from disk, computed on the CPU.
DISK = "disk"


def resolve_devices(device: str) -> tuple[torch.device, ...]:
    """The devices that a parameter names: all GPUs for ``shard``, else one.

    Raises:
        InputError: if there is no such device here.
    """
    if device != SHARD:
        return (resolve_device(device),)
    count = torch.cuda.device_count()
    if not count:
        raise InputError(f"The device {SHARD!r} is not there: PyTorch sees no GPUs; choose cpu.")
    return tuple(torch.device("cuda", number) for number in range(count))


def resolve_device(device: str) -> torch.device:
    """The device that a parameter names, the first one for ``shard``; the CPU for ``disk``; ``auto`` is the first
    GPU, or the CPU.

    Raises:
        InputError: if there is no such device here.
    """
    if device == SHARD:
        return resolve_devices(device)[0]
    if device == DISK:
        return torch.device("cpu")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    matched = re.fullmatch(r"(cpu|cuda)(?::([0-9]{1,3}))?", device)
    if matched is None or (matched[1] == "cpu" and int(matched[2] or 0)):
        raise InputError(f"The device {device[:40]!r} is unknown; choose auto, cpu, cuda, cuda:N, {SHARD} or {DISK}.")
    kind, number = matched.groups()
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        present = torch.cuda.device_count()
        choice = f"cuda:0 to cuda:{present - 1}" if present else "cpu"
        raise InputError(f"The device {device!r} is not there: PyTorch sees {present or 'no'} GPUs; choose {choice}.")
    return torch.device(device)


def further_devices(device: torch.device, count: int) -> tuple[torch.device, ...]:
    """The GPUs beside one, so that there are ``count``, in their order.

    Raises:
        InputError: if there are too few.
    """
    present = torch.cuda.device_count() if device.type == "cuda" else 0
    if count > 1 and count > present:
        raise InputError(
            f"{count} GPUs are to share a recovery on the device {str(device)!r}, but there {_are(present)}; give "
            f"recovery_gpus {max(1, present)}."
        )
    others = [torch.device("cuda", number) for number in range(present) if number != (device.index or 0)]
    return tuple(others[: count - 1])


def worker_devices(device: torch.device, count: int) -> tuple[torch.device, ...]:
    """A device for each of some workers: of GPUs each has one alone, the process's own last; the CPU is shared.

    Args:
        device: of the process.
        count: number of workers.

    Raises:
        InputError: if there are too few GPUs.
    """
    if device.type != "cuda":
        return (device,) * count
    present = torch.cuda.device_count()
    if count > present:
        raise InputError(
            f"{count} workers are to have a GPU each, but there {_are(present)}; give workers {present} or fewer."
        )
    own = torch.device("cuda", device.index or 0)
    others = [torch.device("cuda", number) for number in range(present) if number != own.index]
    return tuple([*others, own][:count])


def _are(count: int) -> str:
    return f"are {count}" if count > 1 else "is one" if count else "are none"


def devices_of(model: nn.Module) -> tuple[torch.device, ...]:
    """The devices that hold a model's parameters, in the order of the parameters."""
    return tuple(dict.fromkeys(parameter.device for parameter in model.parameters()))
