"""A source with a name of its own, written NAME=SOURCE."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema

from optishear.home import expand_home
from optishear.text_value import text_schema


@dataclass(frozen=True)
class NamedSource:
    """A text and what to call it.

    Attributes:
        name: in objectives, tables and keys.
        source: as for the parameter ``calibration``.
    """

    name: str
    source: str

    def __str__(self) -> str:
        return f"{self.name}={self.source}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return text_schema(cls, parse_named_source)


def parse_named_source(text: Any) -> NamedSource:
    """Read ``NAME=SOURCE``.

    Raises:
        ValueError: if it is not written so, or the source begins with ``~`` and the name of no user.
    """
    name, separator, source = text.partition("=") if isinstance(text, str) else ("", "", "")
    if not (separator and name and source):
        raise ValueError(f"{text!r} is not NAME=SOURCE, such as math=gsm8k.jsonl")
    _check_name(name)
    return NamedSource(name, expand_home(source))


@dataclass(frozen=True)
class NamedModel:
    """A model, and what to call it where it has a name of its own.

    Attributes:
        name: in tables and keys; empty where the model's own name will do.
        source: as for the parameter ``model``.
    """

    name: str
    source: str

    def __str__(self) -> str:
        return f"{self.name}={self.source}" if self.name else self.source

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return text_schema(cls, parse_named_model)


def parse_named_model(text: Any) -> NamedModel:
    """Read ``NAME=MODEL``, or ``MODEL`` alone. A folder may have ``=`` in its name: a name has no ``/``.

    Raises:
        ValueError: if it is not text, names no model, or begins with ``~`` and the name of no user.
    """
    if not isinstance(text, str) or not text:
        raise ValueError(f"{text!r} is neither a model nor NAME=MODEL")
    name, separator, model = text.partition("=")
    if not separator or "/" in name:
        return NamedModel("", expand_home(text))
    if not (name and model):
        raise ValueError(f"{text!r} is neither a model nor NAME=MODEL")
    _check_name(name)
    return NamedModel(name, expand_home(model))


def _check_name(name: str) -> None:
    """Refuse a name that MLflow takes for no part of a metric's, which it says at the end of the first stage."""
    if not re.fullmatch(r"\w[\w. -]{0,59}", name):
        raise ValueError(
            f"the name {name[:60]!r} has other characters than letters, digits, spaces, dots, dashes and underscores, "
            "does not begin with a letter or a digit, or has more than 60"
        )
