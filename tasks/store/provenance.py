"""The origin of a file, for the metadata of the file."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from optishear.parameters.model import ModelParameters
from tasks.store.model_sources import find_model


def code_version() -> str:
    """The version of the installed package."""
    try:
        return version("optishear")
    except PackageNotFoundError:
        return "unknown"


def provenance(parameters: ModelParameters) -> dict[str, str]:
    """Model and code version, for a Parquet file's metadata."""
    source = find_model(parameters.model)
    return {"model": source.public_name, "model_fingerprint": source.fingerprint, "optishear_version": code_version()}


def public_source(source: str) -> str:
    """A text source without the folders of this machine, for files that are shared."""
    return source if source.startswith("hub:") else Path(source).name
