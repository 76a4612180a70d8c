"""A checkpoint on disk, dense or packed, as tensors by name that are read lazily."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from optishear.errors import InputError, first_line
from optishear.formats.bitmask import Bitmask, unpack
from optishear.json_file import parse_json

Format = Literal["dense", "bitmask"]
# Other names than transformers looks for, so that it says that there are no weights. It would ignore the packed ones
# with no more than a warning, and start the model at random.
STEMS: dict[Format, str] = {"dense": "model", "bitmask": "bitmask"}
LAYOUT = "optishear-bitmask-1"
BITS, VALUES = ".bitmask", ".values"
_SHAPES = TypeAdapter(dict[str, tuple[Annotated[int, Field(ge=0)], ...]])


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, not read yet.

    Has what transformers wants of a tensor in a lazily loaded state dict: ``dtype``, ``is_floating_point()`` and
    ``[...]``.

    Attributes:
        file: the safetensors file.
        name: the tensor's name in the checkpoint.
        packed_shape: its shape where it is stored as a bitmask; ``None`` where it is stored as it is.
    """

    file: Path
    name: str
    packed_shape: tuple[int, ...] | None

    def read(self) -> Tensor:
        """The tensor as it is in the dense checkpoint, on the CPU.

        Raises:
            InputError: if what is stored is damaged.
        """
        with safe_open(self.file, framework="pt") as stored:
            if self.packed_shape is None:
                tensor: Tensor = stored.get_tensor(self.name)
                return tensor
            return unpack(
                Bitmask(stored.get_tensor(self.name + BITS), stored.get_tensor(self.name + VALUES)), self.packed_shape
            )

    @property
    def dtype(self) -> torch.dtype:
        """Of the dense tensor."""
        name = self.name if self.packed_shape is None else self.name + VALUES
        with safe_open(self.file, framework="pt") as stored:
            empty: Tensor = stored.get_slice(name)[:0]
        return empty.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the dense tensor."""
        if self.packed_shape is not None:
            return self.packed_shape
        with safe_open(self.file, framework="pt") as stored:
            return tuple(stored.get_slice(self.name).get_shape())

    def is_floating_point(self) -> bool:
        """Whether the dtype is one of floating point."""
        return self.dtype.is_floating_point

    def __getitem__(self, index: Any) -> Tensor:
        return self.read()[index]


@dataclass(frozen=True)
class StoredCheckpoint:
    """The weights of a checkpoint.

    Attributes:
        format: how they are stored.
        files: for each file, in order, its tensors.
    """

    format: Format
    files: dict[Path, list[StoredTensor]]

    @property
    def tensors(self) -> dict[str, StoredTensor]:
        """All tensors by name."""
        return {tensor.name: tensor for tensors in self.files.values() for tensor in tensors}

    @property
    def disk_bytes(self) -> int:
        """Size of the weight files in bytes."""
        return sum(file.stat().st_size for file in self.files)


def stored_format(folder: str | Path) -> Format | None:
    """How a folder stores its weights; ``None`` if it holds none under the names that are known.

    Raises:
        InputError: if files are missing of those that their names count, or the index cannot be read.
    """
    for name in STEMS:
        if _files(Path(folder), name):
            return name
    return None


def open_checkpoint(folder: str | Path) -> StoredCheckpoint:
    """Find the tensors of a checkpoint; only headers are read.

    Raises:
        InputError: if the folder has no safetensors weights, or a file is missing or cannot be read.
    """
    folder = Path(folder)
    name = stored_format(folder)
    if name is None:
        raise InputError(
            f"The folder {str(folder)!r} has no model.safetensors, no model.safetensors.index.json and no "
            "bitmask.safetensors; give a checkpoint's folder."
        )
    return StoredCheckpoint(name, {file: _tensors(file) for file in _files(folder, name)})


def header_dtypes(folder: str | Path) -> dict[str, str]:
    """The dtype of each tensor in the files of a dense checkpoint, as safetensors writes it, such as ``BF16``.

    Raises:
        InputError: as ``stored_format``; or if a header cannot be read.
    """
    dtypes: dict[str, str] = {}
    for path in _files(Path(folder), "dense"):
        try:
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = parse_json(file.read(min(size, path.stat().st_size)))
            dtypes |= {name: str(tensor["dtype"]) for name, tensor in header.items() if name != "__metadata__"}
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(
                f"The file {str(path)!r} cannot be read ({first_line(error)}); download or write it again."
            ) from None
    return dtypes


def numbered_names(name: Format, count: int) -> Iterator[str]:
    """The names of a checkpoint's files, where it has several."""
    return (f"{STEMS[name]}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1))


def _files(folder: Path, name: Format) -> Sequence[Path]:
    """One file, or those of the index; a packed checkpoint needs no index, since its files' names are its own."""
    single = folder / f"{STEMS[name]}.safetensors"
    if single.is_file():
        return [single]
    if name == "bitmask":
        return _numbered_files(folder, name)
    index = folder / f"{STEMS[name]}.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        weights: dict[str, str] = parse_json(index.read_text(encoding="utf-8"))["weight_map"]
        return sorted({folder / file for file in weights.values()})
    except (ValueError, KeyError, AttributeError, TypeError):
        raise InputError(f"The index {str(index)!r} cannot be read; download the checkpoint again.") from None


def _numbered_files(folder: Path, name: Format) -> Sequence[Path]:
    """The files 1 to N of N; none where the folder has none."""
    counted = re.compile(rf"{STEMS[name]}-\d+-of-(\d+)\.safetensors")
    files = folder.glob(f"{STEMS[name]}-*.safetensors")
    numbers = {file.name: int(match[1]) for file in files if (match := counted.fullmatch(file.name))}
    if not numbers:
        return []
    count = max(numbers.values())
    missing = next((file for file in numbered_names(name, count) if file not in numbers), None)
    if missing is not None:
        raise InputError(
            f"The packed checkpoint {str(folder)!r} has no {missing!r}, though other files count {count}; copy or "
            "write it again."
        )
    wrong = numbers.keys() - set(numbered_names(name, count))
    if wrong:
        raise InputError(
            f"The packed checkpoint {str(folder)!r} has {min(wrong)!r} beside its {count} files; remove what is not "
            "of this checkpoint."
        )
    return [folder / file for file in sorted(numbers)]


def _tensors(file: Path) -> list[StoredTensor]:
    try:
        with safe_open(file, framework="pt") as stored:
            metadata: dict[str, str] = stored.metadata() or {}
            names = list(stored.keys())
    except FileNotFoundError:
        raise InputError(
            f"The file {str(file)!r}, which the checkpoint's index names, is missing; download or write it again."
        ) from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"The file {str(file)!r} cannot be read ({error}); download or write it again.") from None
    shapes = _packed_shapes(file, metadata)
    parts = {name + part for name in shapes for part in (BITS, VALUES)}
    plain = [StoredTensor(file, name, None) for name in names if name not in parts]
    return plain + [StoredTensor(file, name, shape) for name, shape in shapes.items()]


def _packed_shapes(file: Path, metadata: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """The shapes of the packed tensors of a file, by name; none in a file that packs nothing."""
    layout = metadata.get("layout", "")
    if layout != LAYOUT:
        if layout.startswith(LAYOUT.rstrip("0123456789")):
            raise InputError(
                f"The file {str(file)!r} has the layout {layout!r}, and this OptiShear reads {LAYOUT}; read it with "
                "the OptiShear that wrote it, or a later one."
            )
        return {}
    try:
        return _SHAPES.validate_json(metadata.get("shapes", ""))
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(
            f"The file {str(file)!r} does not give the shapes of its packed weights ({reason}); download or write it "
            "again."
        ) from None
