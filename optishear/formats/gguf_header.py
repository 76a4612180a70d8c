"""The header of a GGUF file, checked against the file's size before anything is allocated by its counts."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
# struct's codes of the plain types, by their numbers in the format.
_PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# A tensor has at most four dimensions in the format.
_MOST_DIMENSIONS = 4
_LONGEST_KEY = 65535
_DEFAULT_ALIGNMENT = 32
# Bytes of a metadata entry and of a tensor's entry, at the least.
_SMALLEST_ENTRY, _SMALLEST_TENSOR = 8 + 4 + 1, 8 + 4 + 8 + 4 + 8


class DamagedGgufError(ValueError):
    """A file is no whole GGUF file; the message is the reason, without a full stop."""


@dataclass(frozen=True)
class GgufTensor:
    """An entry of the table of tensors.

    Attributes:
        shape: numbers along each dimension, the fastest first.
        kind: number of the type that it is stored in.
        offset: bytes from the begin of the data.
    """

    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """What a file says of itself.

    Attributes:
        values: the plain values of the metadata and its texts, by key; of an array, its length.
        tensors: by name.
        data: bytes from the begin of the file to that of the data.
    """

    values: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]
    data: int


def read_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file; arrays are passed over, and no count is believed beyond the end of the file.

    Raises:
        DamagedGgufError: if it is cut or is no GGUF file of version 2 or 3.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return _Reader(file, path.stat().st_size).header()


def check_sizes(header: GgufHeader, size: int, block_sizes: Mapping[int, tuple[int, int]]) -> None:
    """Refuse a file that ends before the last of its tensors.

    Args:
        header: of the file.
        size: bytes of the file.
        block_sizes: for the number of each type, the numbers of a block and its bytes.

    Raises:
        DamagedGgufError: naming the tensor.
    """
    for name, tensor in header.tensors.items():
        if tensor.kind not in block_sizes:
            raise DamagedGgufError(f"the tensor {name!r} is of the unknown type {tensor.kind}")
        numbers, block = block_sizes[tensor.kind]
        end = header.data + tensor.offset + -(-tensor.numbers // numbers) * block
        if end > size:
            raise DamagedGgufError(f"the tensor {name!r} ends at byte {end}, and the file has {size}")


class _Reader:
    """Reads forward through a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def header(self) -> GgufHeader:
        if self._take(4) != MAGIC:
            raise DamagedGgufError("it does not begin with GGUF")
        version = int(self._plain("I"))
        if version not in _VERSIONS:
            raise DamagedGgufError(f"it is of version {version}, and versions 2 and 3 are known")
        tensor_count = self._count(_SMALLEST_TENSOR, "tensors")
        entry_count = self._count(_SMALLEST_ENTRY, "metadata entries")
        values: dict[str, Any] = {}
        for _ in range(entry_count):
            key = self._text(_LONGEST_KEY)
            if key in values:
                raise DamagedGgufError(f"it has the key {key!r} twice")
            values[key] = self._value(int(self._plain("I")))
        tensors: dict[str, GgufTensor] = {}
        for _ in range(tensor_count):
            name = self._text(_LONGEST_KEY)
            if name in tensors:
                raise DamagedGgufError(f"it has the tensor {name!r} twice")
            tensors[name] = self._tensor(name)
        alignment = values.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
            raise DamagedGgufError(f"its alignment is {alignment!r}")
        return GgufHeader(values, tensors, -(-self._file.tell() // alignment) * alignment)

    def _tensor(self, name: str) -> GgufTensor:
        dimensions = int(self._plain("I"))
        if not 0 < dimensions <= _MOST_DIMENSIONS:
            raise DamagedGgufError(f"the tensor {name!r} has {dimensions} dimensions")
        shape = tuple(int(self._plain("Q")) for _ in range(dimensions))
        return GgufTensor(shape, int(self._plain("I")), int(self._plain("Q")))

    def _value(self, kind: int) -> Any:
        if kind in _PLAIN:
            return self._plain(_PLAIN[kind])
        if kind == _STRING:
            return self._text(self._size)
        if kind == _ARRAY:
            return self._array()
        raise DamagedGgufError(f"its metadata has a value of the unknown type {kind}")

    def _array(self) -> int:
        """Pass over an array; its length."""
        kind = int(self._plain("I"))
        if kind in _PLAIN:
            width = struct.calcsize("<" + _PLAIN[kind])
            length = self._count(width, "values of an array")
            self._skip(length * width)
        elif kind == _STRING:
            length = self._count(8, "texts of an array")
            for _ in range(length):
                self._skip(self._count(1, "bytes of a text"))
        else:
            raise DamagedGgufError(f"its metadata has an array of the unknown type {kind}")
        return length

    def _text(self, longest: int) -> str:
        length = self._count(1, "bytes of a text")
        if length > longest:
            raise DamagedGgufError(f"a name in it has {length} bytes")
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise DamagedGgufError("a text in it is not UTF-8") from None

    def _count(self, width: int, what: str) -> int:
        """A count of things of so many bytes at the least, which have to be in the rest of the file."""
        count = int(self._plain("Q"))
        if count * width > self._size - self._file.tell():
            raise DamagedGgufError(f"it counts {count} {what}, more than fit in its {self._size} bytes")
        return count

    def _plain(self, code: str) -> Any:
        return struct.unpack("<" + code, self._take(struct.calcsize("<" + code)))[0]

    def _skip(self, length: int) -> None:
        self._file.seek(length, 1)

    def _take(self, length: int) -> bytes:
        taken = self._file.read(length)
        if len(taken) < length:
            raise DamagedGgufError(f"it ends in its header, after {self._size} bytes")
        return taken
