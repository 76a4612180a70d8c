"""Parameters from YAML files and flags, with one sentence on what is wrong with them."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from optishear.errors import InputError, first_line
from optishear.parameters.base import Parameters
from optishear.parameters.former_names import current_names
from optishear.yaml_file import parse_yaml

_LONGEST_SHOWN = 200
Group = TypeVar("Group", bound=Parameters)


def read_parameters(group: type[Group], values: dict[str, Any], config: Path | None = None) -> Group:
    """Build a parameter group from a YAML file and from values that override it.

    Raises:
        InputError: one sentence on the first thing that is wrong, naming the key, the value and the fix.
    """
    from_file = read_mapping(config) if config is not None else {}
    # Current names first, so that a flag overrides the file under either name.
    merged = {**current_names(from_file, group.model_fields), **current_names(values, group.model_fields)}
    try:
        return group(**merged)
    except ValidationError as error:
        raise InputError(_one_sentence(error, group)) from None


def read_mapping(file: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file holds none of its keys.

    Raises:
        InputError: if it cannot be read, or holds something else.
    """
    try:
        loaded = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"The configuration {str(file)!r} cannot be read as YAML ({reason}).") from None
    if loaded is not None and not isinstance(loaded, dict):
        raise InputError(f"The configuration {str(file)!r} is not a mapping of parameter names to values.")
    return loaded or {}


def _one_sentence(error: ValidationError, group: type[Parameters]) -> str:
    first = error.errors()[0]
    key = ".".join(part for part in first["loc"] if isinstance(part, str)) or "parameters"
    if first["type"] == "extra_forbidden":
        return f"There is no parameter {key!r}; the known ones are {', '.join(sorted(group.model_fields))}."
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return str(cause)
    reason = str(cause) if cause else first["msg"][0].lower() + first["msg"][1:]
    # A number in its place is the position in a list.
    verb = "hold" if any(isinstance(part, int) for part in first["loc"]) else "be"
    return f"The parameter {key} cannot {verb} {_shown(first['input'])}: {reason}."


def _shown(value: Any) -> str:
    """The value as Python writes it, the middle left out of a long one; integers of any length."""
    try:
        text = repr(value)
    except ValueError:
        return "an integer of thousands of digits"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN // 2]}...{text[-20:]}"
