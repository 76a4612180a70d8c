"""Suites: named lists of benchmark tasks in YAML files, shipped or written by the user."""

import difflib
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optishear.errors import InputError, first_line
from optishear.parameters.base import MOST_FEWSHOT, Natural, at_most
from optishear.yaml_file import UnreadableYamlError, parse_yaml

_SUFFIXES = (".yaml", ".yml")


class Suite(BaseModel):
    """A list of tasks with the same number of examples in the prompt.

    Attributes:
        description: purpose, in one line.
        tasks: names of lm-eval tasks, groups or tags.
        fewshot: examples in the prompt, unless the parameter ``fewshot`` is given; by default each task's own number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    tasks: list[str] = Field(min_length=1)
    fewshot: Annotated[Natural, at_most(MOST_FEWSHOT)] | None = None


def shipped_suites() -> list[str]:
    """The names of the shipped suites."""
    names = [Path(file.name) for file in files("optishear.evaluation").joinpath("suites").iterdir()]
    return sorted(name.stem for name in names if name.suffix in _SUFFIXES)


def find_suite(suite: str) -> Suite:
    """Read a suite by the name of a shipped one, or from a YAML file.

    Raises:
        InputError: if it is neither, or the file is no suite.
    """
    if Path(suite).suffix in _SUFFIXES:
        path = Path(suite)
        if not path.is_file():
            raise InputError(f"There is no suite file {suite!r}; name one that exists, or {_choices()}.")
        try:
            return _read(path.read_bytes(), suite)
        except OSError as error:
            raise InputError(
                f"The suite file {suite!r} cannot be read ({first_line(error)}); name one that can be, or {_choices()}."
            ) from None
    if suite not in shipped_suites():
        close = difflib.get_close_matches(suite, shipped_suites(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"name {_choices()}, or a YAML file."
        raise InputError(f"There is no suite {suite!r}; {hint}")
    return _read(files("optishear.evaluation").joinpath("suites", f"{suite}.yaml").read_bytes(), suite)


def _choices() -> str:
    return "one of " + ", ".join(shipped_suites())


def _read(content: bytes, name: str) -> Suite:
    try:
        return Suite.model_validate(parse_yaml(content))
    except UnreadableYamlError as error:
        raise InputError(f"The suite {name!r} is not YAML ({first_line(error)}).") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "content"
        reason = first["msg"][0].lower() + first["msg"][1:]
        raise InputError(
            f"The suite {name!r} has a wrong {key} ({reason}); it is a mapping with tasks, and if wanted fewshot and "
            "description."
        ) from None
