"""Parameters that had another name in an earlier version; flags, YAML keys and Prefect parameters still accept it."""

from collections.abc import Container, Mapping
from typing import Any

# Former name: current name.
FORMER_NAMES = {"judged_sequences": "held_out_sequences"}


def current_names(values: Mapping[str, Any], fields: Container[str]) -> dict[str, Any]:
    """The values under the current names of a group's fields.

    A former name beside the current one stays, so that the group refuses it as unknown.
    """
    return {_current_name(name, values, fields): value for name, value in values.items()}


def _current_name(name: str, values: Mapping[str, Any], fields: Container[str]) -> str:
    current = FORMER_NAMES.get(name, name)
    return current if current in fields and current not in values else name
