"""A model that was found → the folder with its checkpoint's files."""

from dataclasses import replace
from pathlib import Path

from optishear.models.gguf import convert_gguf
from optishear.models.hub import download
from optishear.models.source import ModelSource


def checkpoint_folder(source: ModelSource, *, weights: bool = True) -> Path:
    """The local folder of a model; one on the hub is downloaded, a GGUF file converted, on its first use.

    Args:
        source: the model.
        weights: whether the weights have to be there, too, of a model on the hub.

    Raises:
        InputError: if a GGUF file cannot be converted.
        HubError: if the hub failed to give a file, also at further tries.
    """
    if source.gguf is not None:
        convert_gguf(source.gguf, Path(source.location))
    if source.revision is not None:
        return download(source.location, source.revision, weights=weights)
    return Path(source.location)


def local_source(source: ModelSource, *, weights: bool = True) -> ModelSource:
    """The same model, loaded from its local folder.

    transformers takes an optional file that the hub does not give for one that is not there, and loads another
    tokenizer. From a folder it reads what was downloaded as a whole.

    Args:
        source: the model.
        weights: whether the weights have to be there, too, of a model on the hub.

    Raises:
        InputError: if a GGUF file cannot be converted.
        HubError: if the hub failed to give a file, also at further tries.
    """
    return replace(source, location=str(checkpoint_folder(source, weights=weights)), revision=None)
