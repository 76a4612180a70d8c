"""Values that are written as text in YAML files, flags and metadata, and parsed once into an object."""

from collections.abc import Callable
from typing import Any

from pydantic_core import core_schema


def text_schema(kind: type, parse: Callable[[Any], Any]) -> core_schema.CoreSchema:
    """The pydantic schema of a value object: read by ``parse``, dumped as ``str(value)``, text in a JSON schema.

    For the class's ``__get_pydantic_core_schema__``. A default is given as text, with ``validate_default``: pydantic
    would put a dataclass into a JSON schema field by field.

    Args:
        kind: the class; its instances are taken as they are.
        parse: makes an instance of text, or of a number where the class may be written as one. Its ``ValueError`` is
            a validation error.
    """

    def read(value: Any) -> Any:
        return value if isinstance(value, kind) else parse(value)

    return core_schema.no_info_plain_validator_function(
        read,
        json_schema_input_schema=core_schema.str_schema(),
        serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
    )
