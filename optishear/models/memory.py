"""Whether a model's weights fit into the free memory, counted before they are loaded."""

import gc
from collections.abc import Mapping
from pathlib import Path

import psutil
import torch
from torch import nn

from optishear.errors import InputError
from optishear.models.precision import DTYPES
from optishear.units import format_bytes

_CGROUPS = Path("/sys/fs/cgroup")


def weight_count(model: nn.Module) -> int:
    """How many numbers a model's parameters hold, tied ones once; the model may be on the meta device."""
    return sum(parameter.numel() for parameter in model.parameters())


def check_memory(name: str, weights: Mapping[torch.device, int], dtype: str) -> None:
    """Refuse a model whose weights alone are larger than the free memory.

    Args:
        name: of the model, for the message.
        weights: how many, of each place that they have to fit into.
        dtype: that they are held in.

    Raises:
        InputError: with the bytes that are needed and free.
    """
    for place, count in weights.items():
        needed = count * DTYPES[dtype].itemsize
        if needed <= free_memory(place):
            continue
        gc.collect()  # a model that was let go may be in a cycle
        free = free_memory(place)
        if needed <= free:
            continue
        half = count * torch.bfloat16.itemsize
        fix = f"give dtype bfloat16, which needs {format_bytes(half)}" if half <= free < needed else "free some"
        on = "" if torch.device("cpu") in weights else f" on {place}"
        raise InputError(
            f"The weights of the model {name!r} need {format_bytes(needed)} in {dtype}{on}, and {format_bytes(free)} "
            f"of the {'GPU' if place.type == 'cuda' else 'machine'}'s memory are free; {fix}, or take a smaller model "
            "or another machine."
        )


def free_memory(device: torch.device) -> int:
    """Bytes that new tensors may take on a device: what the GPU has, or the machine and its container's limit."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    return min([int(psutil.virtual_memory().available), *_left_in_cgroups()])


def _left_in_cgroups() -> list[int]:
    """What the process's control groups (version 2) leave, for each that has a limit; files' pages can be let go."""
    free = []
    group = _own_cgroup()
    for folder in (group, *group.parents):
        if not folder.is_relative_to(_CGROUPS):
            break
        try:
            limit = int((folder / "memory.max").read_text())  # "max" where there is none
            used = int((folder / "memory.current").read_text())
            counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            free.append(max(0, limit - used + int(counts["inactive_file"])))
        except (OSError, ValueError, KeyError):
            continue
    return free


def _own_cgroup() -> Path:
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("::")[2].strip()
    except OSError:  # not on Linux
        own = ""
    return _CGROUPS / own.lstrip("/")
