"""Keys by content: a stage's name and version, the digests of what it reads, the parameters that change its result.

Paths, places of results and tracking are never part of a key; the device only for measurements on it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from optishear.models.digest import digest_of_file
from optishear.parameters.model import ModelParameters
from tasks.store.model_sources import find_model


def content_key(stage: str, version: int, parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The stage's name and 32 hexadecimal digits."""
    identity = {"stage": stage, "version": version, "parameters": dict(parameters), "inputs": dict(inputs)}
    return f"{stage}-{digest(identity)[:32]}"


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def chosen(parameters: BaseModel, names: Iterable[str]) -> dict[str, Any]:
    """The named parameters as JSON values."""
    return parameters.model_dump(mode="json", include=set(names))


def model_digest(parameters: ModelParameters) -> str:
    """The content of the dense model."""
    return find_model(parameters.model).fingerprint


def folder_digest(folder: Path | None) -> str:
    """The content of a folder's files and their names; empty if no folder is given."""
    if folder is None:
        return ""
    files = {
        path.relative_to(folder).as_posix(): digest_of_file(path)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return digest(files)
