"""The independent parts of an evaluation, whose results are measured and stored separately."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel
from transformers import PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

Result = TypeVar("Result", bound=BaseModel)

# Returns the model and its tokenizer; not called for stored results.
Load = Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]


@dataclass(frozen=True)
class Part(Generic[Result]):
    """An independent part of an evaluation.

    Attributes:
        name: shown in logs, such as ``task arc_easy``.
        identity: JSON values that determine the result, together with the model.
        result: type of the result.
        measure: computes the result.
    """

    name: str
    identity: Mapping[str, Any]
    result: type[Result]
    measure: Callable[[], Result]


class Keep(Protocol):
    """Returns the result of a part, stored or measured."""

    def __call__(self, part: Part[Result]) -> Result:
        """Return the result; errors of ``measure`` are raised."""
        ...


def measure_always(part: Part[Result]) -> Result:
    """Measure the part; nothing is stored."""
    return part.measure()
