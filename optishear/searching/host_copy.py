"""Dense weights in the host's memory, for a GPU that has no room for a second copy of them.

A change of all masks moves the whole copy: 12.1 GiB for LLaMA-2-7B in 16 bits, half a second at the 25 GB/s that PCIe
4.0 with 16 lanes gives from pinned memory.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

# PyTorch rounds each piece of pinned memory up to a power of two, so that weights share pieces of that many bytes.
_PIECE = 2**30


class HostCopy:
    """Copies of weights in memory that GPUs read directly (pinned), where there are GPUs.

    Attributes:
        uploaded_bytes: copied from the host to GPUs so far.
    """

    def __init__(self, weights: Mapping[int, Tensor]) -> None:
        """Copy the weights of some layers, given by their indices; each copy has its weight's order of memory."""
        self._weights = weights
        self._copies = dict(zip(weights, _pinned_like(list(weights.values())), strict=True))
        self._streams: dict[torch.device, torch.cuda.Stream] = {}
        self.uploaded_bytes = 0
        for index, weight in weights.items():
            self._copies[index].copy_(weight)

    def __contains__(self, index: int) -> bool:
        return index in self._copies

    def read(self, index: int, target: Tensor) -> Tensor:
        """Write a copy to a tensor of its shape, after all work that its GPU has been given; returns that tensor."""
        self.uploaded_bytes += target.nbytes
        return target.copy_(self._copies[index], non_blocking=True)

    def restored(self, indices: Sequence[int]) -> Iterator[int]:
        """Restore weights and give their indices one by one; while the caller works on one, the next is copied."""
        upcoming = [self._begin(index) for index in indices[:1]]
        for position, index in enumerate(indices):
            copied, device = upcoming.pop()
            upcoming += [self._begin(following) for following in indices[position + 1 : position + 2]]
            torch.cuda.current_stream(device).wait_event(copied)
            yield index

    def _begin(self, index: int) -> tuple[torch.cuda.Event, torch.device]:
        """Restore a weight beside the work that its GPU has been given after now."""
        device = self._weights[index].device
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)
        beside = self._streams[device]
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):
            self.read(index, self._weights[index])
            return beside.record_event(), device


def _pinned_like(weights: Sequence[Tensor]) -> list[Tensor]:
    """Room for each weight in pinned memory."""
    copies = []
    piece, used = torch.empty(0), 0
    left = sum(weight.numel() for weight in weights)
    for weight in weights:
        if piece.dtype != weight.dtype or used + weight.numel() > len(piece):
            size = max(min(_PIECE // weight.element_size(), left), weight.numel())
            piece, used = torch.empty(size, dtype=weight.dtype, pin_memory=torch.cuda.is_available()), 0
        copies.append(piece.as_strided(weight.shape, weight.stride(), used))
        used += weight.numel()
        left -= weight.numel()
    return copies
