"""Standard JSON: numbers that are not finite are written as text, and whatever cannot be read is one error."""

import json
import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from optishear.files import write_text


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all; ``NaN`` and ``Infinity`` are not JSON and become ``"nan"``, ``"inf"``.

    Args:
        path: the file.
        value: what JSON can hold, or a pydantic model, whose number fields read the two texts as numbers again.
    """
    write_text(path, json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: if it is not JSON, or is nested too deeply, has integers of thousands of digits, or is not UTF-8.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def finite(value: Any) -> Any:
    """The value with every number that is not finite as text; models as their fields."""
    if isinstance(value, BaseModel):
        return finite(value.model_dump())
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
