"""A model that was found → the folder with its checkpoint's files."""

from pathlib import Path

import huggingface_hub

from optishear.models.gguf import convert_gguf
from optishear.models.source import ModelSource

_LEFT_OUT = ["*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*/*"]


def checkpoint_folder(source: ModelSource) -> Path:
    """The local folder of a model; one on the hub is downloaded, a GGUF file converted, on its first use.

    Raises:
        InputError: if a GGUF file cannot be converted.
    """
    if source.gguf is not None:
        convert_gguf(source.gguf, Path(source.location))
    if source.revision is not None:
        return Path(
            huggingface_hub.snapshot_download(
                source.location, revision=source.revision, ignore_patterns=_LEFT_OUT, max_workers=1
            )
        )
    return Path(source.location)
