"""The parts of an evaluation: each is measured on its own, so that it can be kept on its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel
from transformers import PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

Result = TypeVar("Result", bound=BaseModel)

# Gives the model and its tokenizer, once they are needed: a part that is kept needs neither.
Load = Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]


@dataclass(frozen=True)
class Part(Generic[Result]):
    """A part of an evaluation, which depends on no other.

    Attributes:
        name: what it is, for a person.
        identity: JSON values that decide the result, beside the model.
        result: what it gives.
        measure: computes it.
    """

    name: str
    identity: Mapping[str, Any]
    result: type[Result]
    measure: Callable[[], Result]


class Keep(Protocol):
    """Gives a part's result: kept from before, or measured now."""

    def __call__(self, part: Part[Result]) -> Result:
        """The result; whatever ``measure`` raises is raised."""
        ...


def measure_anew(part: Part[Result]) -> Result:
    """Keep nothing."""
    return part.measure()
