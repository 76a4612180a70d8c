"""The signature of a function whose keyword arguments are fields of parameter groups, for ``help`` and notebooks."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic.fields import FieldInfo

from optishear.parameters.base import Parameters

Function = TypeVar("Function", bound=Callable[..., Any])


def default_of(field: FieldInfo) -> Any:
    """A field's default as a caller would write it."""
    return field.get_default(call_default_factory=True)


def with_defaults(*groups: type[Parameters]) -> Callable[[Function], Function]:
    """Show the keyword arguments one by one, where a function has ``**parameters: Unpack[SOME_TYPED_DICT]``.

    Type checkers and editors read the typed dictionary by themselves; ``inspect.signature`` does not.

    Args:
        groups: have the arguments as fields, and their defaults.
    """
    fields = {name: field for group in groups for name, field in group.model_fields.items()}

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        *own, rest = signature.parameters.values()
        [arguments] = get_args(rest.annotation)
        typed = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default_of(fields[name]), annotation=annotation
            )
            for name, annotation in get_type_hints(arguments).items()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *typed])  # type: ignore[attr-defined]
        return function

    return decorate
