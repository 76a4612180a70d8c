"""What all parameter groups have in common.

Each field is at the same time a key of the YAML file, a flag of the command line (``search_sequences`` is
``--search-sequences``), a parameter of the Prefect flows and a param of the MLflow run.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from optishear.errors import InputError
from optishear.parameters.former_names import current_names

# Beyond any count, and small enough for the 64-bit integers of all libraries.
_LARGEST_COUNT = 10**15
# Of shares and of rates: beyond it nothing of the weights is left.
_LARGEST_RATE = 1000.0
# Of rates, tolerances and distances: below it float32 knows no difference.
_SMALLEST = 1e-9
# Characters of a text, more than those of the longest path.
_LONGEST_TEXT = 4_000
# Control characters, halves of a character, and what changes the direction or the place of the text behind it: they
# would change what a terminal, a page or a log shows.
_NOT_PRINTED = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069\ufeff]")
# Of examples in a prompt; no context has room for as many.
MOST_FEWSHOT = 1_000
# What the random generators of Python, NumPy and PyTorch all take.
_LARGEST_SEED = 2**32 - 1


Number = TypeVar("Number", int, float)


def at_most(largest: float) -> AfterValidator:
    """A limit that only a mistake exceeds; those of ``Field`` are shown beside every parameter."""

    def check(value: Number) -> Number:
        if value > largest:
            raise ValueError(f"it is larger than {largest}")
        return value

    return AfterValidator(check)


def _is_large_enough(value: float) -> float:
    if value < _SMALLEST:
        raise ValueError(f"it is smaller than {_SMALLEST}")
    return value


def check_text(text: str) -> None:
    """Refuse text that names nothing, or that cannot be shown, written to a file or sent to a server as it is.

    Raises:
        ValueError: naming what is wrong.
    """
    if wrong := _NOT_PRINTED.search(text):
        raise ValueError(f"the character {wrong[0]!r} is not allowed in text")
    if not text.strip():
        raise ValueError("it is blank; leave it out, or write what it should be")
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"it has {len(text)} characters, more than {_LONGEST_TEXT}")


# A number that is more than zero, and of which more than zero is left in the computation.
Rate = Annotated[float, Field(gt=0), AfterValidator(_is_large_enough), at_most(_LARGEST_RATE)]
# As a rate, and less than everything.
Share = Annotated[float, Field(gt=0, lt=1), AfterValidator(_is_large_enough)]
Positive = Annotated[int, Field(ge=1), at_most(_LARGEST_COUNT)]
Natural = Annotated[int, Field(ge=0), at_most(_LARGEST_COUNT)]
Seed = Annotated[int, Field(ge=0), at_most(_LARGEST_SEED)]


class Parameters(BaseModel):
    """Base of all groups: immutable, and an unknown key is an error rather than a silent default.

    Attributes:
        heading: what the fields that a group defines are listed under in the help of a command.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    heading: ClassVar[str] = "General"

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        return current_names(values, cls.model_fields) if isinstance(values, Mapping) else values

    @field_validator("*", mode="before")
    @classmethod
    def _is_plain(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false for a number, and text that names nothing, or that no file and no server takes."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError("true and false are values of switches only")
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                check_text(text)
        return value

    @model_validator(mode="after")
    def _without_repeats(self) -> Self:
        """Refuse a value that a list has twice: it would be counted or computed twice, or be one key of two results."""
        for name in type(self).model_fields:
            values = getattr(self, name)
            if isinstance(values, list):
                twice = next((value for at, value in enumerate(values) if value in values[:at]), None)
                if twice is not None:
                    raise InputError(f"The parameter {name} has {str(twice)!r} twice; give each value once.")
        return self
