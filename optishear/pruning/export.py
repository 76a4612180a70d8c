"""A checkpoint in one format → the same checkpoint in another, one tensor in memory at a time."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Never

import torch
from tqdm import tqdm

from optishear.files import write_text
from optishear.formats.bitmask import is_smaller_packed, pack
from optishear.formats.safetensors_writer import Entry, file_bytes, safetensors_writer
from optishear.formats.stored import (
    BITS,
    LAYOUT,
    STEMS,
    VALUES,
    Format,
    StoredCheckpoint,
    StoredTensor,
    numbered_names,
    open_checkpoint,
)
from optishear.parameters.export_formats import ExportFormat
from optishear.pruning.card import card_for
from optishear.pruning.checkpoint import CARD_FILE

# What the format fp8-2of4 has beside its weights: torchao's configuration, and the layers by how they run.
TORCHAO_FILE, FP8_LAYERS_FILE = "torchao.json", "fp8-layers.json"
_OF_FORMATS = (TORCHAO_FILE, FP8_LAYERS_FILE)
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".ot"}


def export_checkpoint(source: str | Path, output: Path, format: Format) -> None:
    """Write a checkpoint's weights in a format, and copy its other files.

    In the bitmask format, a floating-point tensor of two or more dimensions is packed where that makes it smaller; the
    others stay as they are.

    Args:
        source: a folder with a checkpoint, in either format.
        output: the folder to make.
        format: ``dense``, which transformers loads, or ``bitmask``, which ``optishear.load_model`` loads.

    Raises:
        InputError: if the source is no checkpoint, or damaged.
    """
    source = Path(source)
    checkpoint = open_checkpoint(source)
    copy_other_files(source, output, format)
    write_weights(checkpoint, output, format)


def write_weights(checkpoint: StoredCheckpoint, output: Path, format: Format) -> None:
    """Write the weights of a checkpoint in a format, with an index where there are several files.

    Args:
        checkpoint: whose tensors are read one at a time.
        output: a folder that has the ``config.json``, whose permissions the files get.
        format: of the weights.

    Raises:
        InputError: if a tensor is damaged.
    """
    names = _file_names(checkpoint, format)
    with tqdm(total=len(checkpoint.tensors), desc=f"export {format}", unit="tensor", delay=2, leave=False) as bar:
        for name, tensors in zip(names, checkpoint.files.values(), strict=True):
            _write(output / name, tensors, format, bar)
            (output / name).chmod((output / "config.json").stat().st_mode)
    if format == "dense" and len(names) > 1:
        _write_index(output, checkpoint, names)


def _file_names(checkpoint: StoredCheckpoint, format: Format) -> list[str]:
    count = len(checkpoint.files)
    return [f"{STEMS[format]}.safetensors"] if count == 1 else list(numbered_names(format, count))


def size_in(checkpoint: StoredCheckpoint, format: Format) -> int:
    """Bytes that a checkpoint's weight files have in a format, without writing them."""
    return sum(
        file_bytes(plan.entries, plan.metadata)
        for plan in (_plan(tensors, format) for tensors in checkpoint.files.values())
    )


@dataclass(frozen=True)
class _Plan:
    """The content of a file to write. Values are counted first, since the header has the places of tensors."""

    entries: dict[str, Entry]
    shapes: dict[str, list[int]]
    metadata: dict[str, str]


def _plan(tensors: list[StoredTensor], format: Format) -> _Plan:
    if format == "dense":
        return _Plan({tensor.name: Entry(tensor.dtype, tensor.shape) for tensor in tensors}, {}, {"format": "pt"})
    entries: dict[str, Entry] = {}
    shapes: dict[str, list[int]] = {}
    for tensor in tensors:
        weight = tensor.read()
        if weight.ndim >= 2 and weight.is_floating_point() and is_smaller_packed(weight):
            packed = pack(weight)
            entries[tensor.name + BITS] = Entry(torch.uint8, tuple(packed.bits.shape))
            entries[tensor.name + VALUES] = Entry(weight.dtype, tuple(packed.values.shape))
            shapes[tensor.name] = list(weight.shape)
        else:
            entries[tensor.name] = Entry(weight.dtype, tuple(weight.shape))
    return _Plan(entries, shapes, {"format": "pt", "layout": LAYOUT, "shapes": json.dumps(shapes)})


def _write(path: Path, tensors: list[StoredTensor], format: Format, bar: "tqdm[Never]") -> None:
    plan = _plan(tensors, format)
    with safetensors_writer(path, plan.entries, plan.metadata) as writer:
        for tensor in tensors:
            weight = tensor.read()
            if tensor.name in plan.shapes:
                packed = pack(weight)
                writer.write(tensor.name + BITS, packed.bits)
                writer.write(tensor.name + VALUES, packed.values)
            else:
                writer.write(tensor.name, weight)
            bar.update()


def _write_index(output: Path, checkpoint: StoredCheckpoint, names: list[str]) -> None:
    placed = zip(names, checkpoint.files.values(), strict=True)
    weights = {tensor.name: name for name, tensors in placed for tensor in tensors}
    total = sum(Entry(tensor.dtype, tensor.shape).nbytes for tensor in checkpoint.tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weights.items()))}
    write_text(output / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")


def _rest(folder: Path) -> list[Path]:
    """The files beside the weights, also in subfolders such as ``additional_chat_templates``.

    A subfolder with a ``config.json`` is another checkpoint, so it is left out, as is what is hidden. Links to folders
    are not followed, since they may lead in a circle.
    """
    files: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            files += [] if path.is_symlink() or (path / "config.json").exists() else _rest(path)
        elif path.is_file() and path.suffix not in _WEIGHTS and not path.name.endswith((".index.json", *_OF_FORMATS)):
            files.append(path)
    return files


def copy_other_files(source: Path, output: Path, format: ExportFormat) -> None:
    """Make the folder of an export with the files that a checkpoint has beside its weights; the card is for the format.

    Args:
        source: the folder of the checkpoint, in which ``output`` may lie.
        output: the folder to make.
        format: of the export.
    """
    files = _rest(source)
    output.mkdir(parents=True)
    for file in files:
        copy = output / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if copy == output / CARD_FILE:
            write_text(copy, card_for(file.read_text(encoding="utf-8"), format))
        else:
            shutil.copyfile(file, copy)
