"""A safetensors file written one tensor at a time.

The library's own writer wants all tensors of a file in memory at once. The format is a JSON header with each tensor's
dtype, shape and place, and the bytes (https://huggingface.co/docs/safetensors). What is written here is, byte for
byte, what the library would write.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedWriter
from math import prod
from pathlib import Path

import torch
from torch import Tensor
from transformers.modeling_utils import str_to_torch_dtype

_NAMES = {dtype: name for name, dtype in str_to_torch_dtype.items()}


@dataclass(frozen=True)
class Entry:
    """The header entry of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * self.dtype.itemsize


def header(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """What a file begins with, and where each tensor's bytes begin after it."""
    described: dict[str, object] = {"__metadata__": dict(metadata)}
    starts: dict[str, int] = {}
    end = 0
    # The widest first, so that every tensor is aligned.
    for name in sorted(entries, key=lambda name: (-entries[name].dtype.itemsize, name)):
        entry = entries[name]
        starts[name], end = end, end + entry.nbytes
        described[name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [starts[name], end],
        }
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, starts


def file_bytes(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> int:
    """Size in bytes of the file that would hold these tensors."""
    return len(header(entries, metadata)[0]) + sum(entry.nbytes for entry in entries.values())


class SafetensorsWriter:
    """An open file whose header is written; each tensor is written to its place, in any order."""

    def __init__(self, file: BufferedWriter, entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> None:
        """Write the header.

        Args:
            file: an empty file.
            entries: every tensor that will be written.
            metadata: free text of the file.
        """
        beginning, self._starts = header(entries, metadata)
        self._file = file
        self._entries = dict(entries)
        file.write(beginning)
        self._data = file.tell()

    def write(self, name: str, tensor: Tensor) -> None:
        """Write a tensor that was announced.

        Raises:
            ValueError: if it is not the one announced.
        """
        if Entry(tensor.dtype, tuple(tensor.shape)) != self._entries.pop(name):
            raise ValueError(f"{name} is not as announced: {tensor.dtype}, {tuple(tensor.shape)}")
        self._file.seek(self._data + self._starts[name])
        self._file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)

    def check_complete(self) -> None:
        """Make sure that nothing announced is missing.

        Raises:
            ValueError: if something is.
        """
        if self._entries:
            raise ValueError(f"{min(self._entries)} was announced and not written")


@contextmanager
def safetensors_writer(
    path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str]
) -> Iterator[SafetensorsWriter]:
    """Open a file to write these tensors to."""
    with path.open("wb") as file:
        writer = SafetensorsWriter(file, entries, metadata)
        yield writer
        writer.check_complete()
