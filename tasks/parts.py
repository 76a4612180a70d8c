"""A smaller parameter group out of a bigger one."""

from typing import Any, TypeVar

from optishear.parameters import Parameters

Group = TypeVar("Group", bound=Parameters)


def part(parameters: Parameters, group: type[Group], **changes: Any) -> Group:
    """The parameters of a group that ``parameters`` holds among others, with some of them changed."""
    names = set(group.model_fields) & set(type(parameters).model_fields)
    return group(**{**{name: getattr(parameters, name) for name in names}, **changes})
