"""YAML from users: whatever cannot be read, or is no plain data, is one error."""

from typing import Any

import yaml

from optishear.errors import first_line

# Values with every alias written out. A file of a kilobyte may stand for billions.
_MOST_VALUES = 1_000_000


class UnreadableYamlError(ValueError):
    """A text is no YAML that can be used; the message is the reason, without a full stop."""


def parse_yaml(text: str | bytes) -> Any:
    """The value of a YAML text: mappings with text as keys, lists, texts, numbers, dates, true, false and null.

    Raises:
        UnreadableYamlError: if it is not YAML, is nested too deeply, contains itself, stands for more values than fit
            in memory, has a key that is no text, or a value that is none, such as the date 2026-02-30 or an integer of
            thousands of digits.
    """
    try:
        value = yaml.safe_load(text)
        _count(value, {}, set())
    except RecursionError:
        raise UnreadableYamlError("it is nested too deeply") from None
    except UnreadableYamlError:
        raise
    # Dates and integers are made by Python's own types, keys by its dictionaries.
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise UnreadableYamlError(first_line(error)) from None
    return value


def _count(value: Any, known: dict[int, int], outer: set[int]) -> int:
    """The number of values in a value, with aliases written out."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) in outer:
        raise UnreadableYamlError("it contains itself by an alias")
    if id(value) not in known:
        outer.add(id(value))
        if isinstance(value, dict):
            wrong = next((key for key in value if not isinstance(key, str)), None)
            if wrong is not None or None in value:
                raise UnreadableYamlError(f"the key {wrong!r} is not text; write it in quotes")
        items = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(item, known, outer) for item in items)
        outer.discard(id(value))
    if known[id(value)] > _MOST_VALUES:
        raise UnreadableYamlError(f"its aliases stand for more than {_MOST_VALUES} values")
    return known[id(value)]
