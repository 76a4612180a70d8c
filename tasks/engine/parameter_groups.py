"""Parameters of one group out of another's, and for another process."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from inspect import isclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from optishear.parameters.base import Parameters
from optishear.parameters.roles import Role, roles_of

Group = TypeVar("Group", bound=Parameters)


def part(parameters: Parameters, group: type[Group], **changes: Any) -> Group:
    """The parameters of a group that ``parameters`` holds among others, with some of them changed."""
    names = set(group.model_fields) & set(type(parameters).model_fields)
    return group(**{**{name: getattr(parameters, name) for name in names}, **changes})


@cache
def groups_of(function: Callable[..., object]) -> tuple[type[Parameters], ...]:
    """The parameter groups that a function takes, from its annotations."""
    hints = [hint for name, hint in get_type_hints(function).items() if name != "return"]
    return tuple(hint for hint in hints if isclass(hint) and issubclass(hint, Parameters))


def belongs(parameters: Parameters, function: Callable[..., object]) -> bool:
    """Whether the parameters belong to all groups that a function takes."""
    return all(isinstance(parameters, group) for group in groups_of(function))


def models_of(parameters: Parameters) -> list[str]:
    """The models that the parameters name, by their roles."""
    values = [getattr(parameters, name) for name, role in roles_of(type(parameters)).items() if role is Role.MODEL]
    return [
        model
        for value in values
        for model in ([value] if isinstance(value, str) else [named.source for named in value])
    ]


def with_absolute_paths(parameters: Group) -> Group:
    """The same parameters for a process with another working folder: each file or folder there is by its whole path."""
    changes: dict[str, Any] = {}
    for name, role in roles_of(type(parameters)).items():
        value = getattr(parameters, name)
        if isinstance(value, list):
            changes[name] = [replace(source, source=_absolute(source.source)) for source in value]
        elif isinstance(value, Path):
            changes[name] = value.absolute()
        elif isinstance(value, str) and role is not Role.PLACE:
            changes[name] = _absolute(value)
    return parameters.model_copy(update=changes)


def _absolute(source: str) -> str:
    path = Path(source)
    return str(path.absolute()) if path.exists() else source
