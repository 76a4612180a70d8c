"""A checkpoint → its form for the engine that runs it."""

import math
from pathlib import Path

from optishear.formats.stored import StoredCheckpoint
from optishear.parameters.export_formats import ExportFormat, GgufType
from optishear.pruning.export import copy_other_files, export_checkpoint
from optishear.serving.fp8_export import export_fp8
from optishear.serving.gguf_export import export_gguf

GGUF_FILE = "model.gguf"
# Of a weight in blocks of 8 bits with their scales; the other types have less.
_BITS_OF_BLOCKS = 8.5


def export_model(source: Path, output: Path, format: ExportFormat, gguf_type: GgufType, name: str) -> None:
    """Write a checkpoint in a format, with the files beside its weights.

    Args:
        source: a folder with a checkpoint, dense or packed.
        output: the folder to make.
        format: of the weights.
        gguf_type: of the weights of the format ``gguf``.
        name: of the model, for the metadata.

    Raises:
        InputError: if the source is no checkpoint, damaged, or not for the engine of the format.
    """
    if format == "gguf":
        copy_other_files(source, output, format)
        export_gguf(source, output / GGUF_FILE, gguf_type, name)
    elif format == "fp8-2of4":
        export_fp8(source, output)
    else:
        export_checkpoint(source, output, format)


def gguf_bytes(checkpoint: StoredCheckpoint, gguf_type: GgufType) -> int:
    """The most bytes that a checkpoint's weights have as a GGUF file, from its shapes alone."""
    bits = {"f32": 32.0, "bf16": 16.0}.get(gguf_type, _BITS_OF_BLOCKS)
    return int(sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values()) * bits / 8)


def fp8_bytes(checkpoint: StoredCheckpoint) -> int:
    """The most bytes that a checkpoint's weights have in the format ``fp8-2of4``, from its shapes alone."""
    return 2 * sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values())


def weight_bytes(folder: Path) -> int:
    """Size of the weight files of an export in bytes."""
    return sum(file.stat().st_size for pattern in ("*.safetensors", "*.gguf") for file in folder.glob(pattern))
