"""What Prefect reads back of a stage: plain JSON of the project's own types, whatever the stored record says.

A record names the serializer of its content. Prefect follows it, so that whoever can write into the folder of results
could name pickle, or a decoder of JSON that calls any function.
"""

import json
from typing import Any

from prefect.results import ResultRecord  # type: ignore[attr-defined]
from prefect.serializers import JSONSerializer, Serializer, prefect_json_object_decoder

from optishear.errors import InputError
from optishear.json_file import parse_json

_PACKAGES = ("tasks.", "optishear.", "flows.")
SERIALIZER = JSONSerializer(object_decoder=f"{__name__}.decode")


def decode(value: dict[str, Any]) -> Any:
    """Prefect's decoder, for the project's own classes alone."""
    if "__exc_type__" in value or ("__class__" in value and not str(value["__class__"]).startswith(_PACKAGES)):
        raise ValueError("it is of a type that no stage returns")
    return prefect_json_object_decoder(value)


def ignore_named_serializers() -> None:
    """Let results of stages be read by ``SERIALIZER``; those of other flows in this process stay Prefect's."""
    original = ResultRecord.deserialize.__func__  # type: ignore[attr-defined]

    def deserialize(
        cls: type[ResultRecord[Any]], data: bytes, backup_serializer: Serializer | None = None
    ) -> ResultRecord[Any]:
        if backup_serializer != SERIALIZER:
            return original(cls, data, backup_serializer)  # type: ignore[no-any-return]
        try:
            record = parse_json(data)
            record["metadata"]["serializer"] = SERIALIZER.model_dump()
            return original(cls, json.dumps(record).encode())  # type: ignore[no-any-return]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"A result that Prefect has stored cannot be trusted ({error}); "
                "check who can write to PREFECT_RESULTS_LOCAL_STORAGE_PATH, and delete the files in it."
            ) from None

    ResultRecord.deserialize = classmethod(deserialize)  # type: ignore[method-assign,assignment]


ignore_named_serializers()
