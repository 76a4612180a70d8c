"""What a parameter names, where it is more than a plain value.

A field has a role by its annotation, as in ``model: Annotated[str, Role.MODEL]``. What makes keys, and what hands
parameters to another process, goes by the roles and not by the names of fields.
"""

from enum import Enum, auto
from typing import Any

from optishear.parameters.base import Parameters


class Role(Enum):
    """The roles.

    Attributes:
        PLACE: where or in how much memory something runs, or where its result goes: no part of what is computed, and
            of no key. It may hold a password.
        MODEL: a model, or a list of models with names; its content is part of keys.
        TEXT: a text, a suite or a recipe, as a file or by a name, or a list of texts with names; its content is part
            of keys.
        FOLDER: a folder; the content of its files is part of keys.
    """

    PLACE = auto()
    MODEL = auto()
    TEXT = auto()
    FOLDER = auto()


def roles_of(group: type[Parameters]) -> dict[str, Role]:
    """The role of each field that has one, by the field's name."""
    return {
        name: role for name, field in group.model_fields.items() for role in field.metadata if isinstance(role, Role)
    }


def plain_fields(group: type[Parameters]) -> list[str]:
    """The fields without a role: their values are their whole content."""
    roles = roles_of(group)
    return [name for name in group.model_fields if name not in roles]


def without_places(parameters: Parameters) -> dict[str, Any]:
    """The parameters as JSON values, without those that are places."""
    places = {name for name, role in roles_of(type(parameters)).items() if role is Role.PLACE}
    return parameters.model_dump(mode="json", exclude=places)
