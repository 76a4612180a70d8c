"""Which weights may go together: a fraction of each row, or N:M groups."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema

from optishear.errors import InputError
from optishear.text_value import text_schema

# Of what YAML makes of N:M with numbers of six digits.
_LARGEST_TIME = 10**9


@dataclass(frozen=True)
class Pattern:
    """A sparsity pattern.

    Attributes:
        fraction: of the prunable weights set to zero, in [0, 1).
        kept: N of N:M, the weights kept in each group; ``None`` for unstructured sparsity.
        group: M of N:M, the size of a group of consecutive inputs; ``None`` for unstructured sparsity.
    """

    fraction: float
    kept: int | None = None
    group: int | None = None

    @property
    def is_structured(self) -> bool:
        """Whether this is an N:M pattern, whose sparsity is the same in every layer."""
        return self.group is not None

    def pruning(self, pruned: int, width: int) -> "Pattern":
        """The pattern of the same groups that prunes so many weights of a row; dense, of fraction 0, for none.

        Args:
            pruned: weights to prune in each row.
            width: weights of a row.
        """
        if self.group is None:
            return self
        kept = self.group - pruned * self.group // width
        return DENSE if kept == self.group else Pattern(1 - kept / self.group, kept, self.group)

    def __str__(self) -> str:
        # The shortest text that is read back as the same number.
        return f"{self.kept}:{self.group}" if self.is_structured else repr(self.fraction).removesuffix(".0")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return text_schema(cls, parse_pattern)


DENSE = Pattern(fraction=0.0)


def parse_pattern(text: Pattern | str | float) -> Pattern:
    """Read a sparsity such as ``0.5`` (unstructured, within each row) or ``2:4`` (2 of every 4 kept).

    A pattern is given back as it is.

    Raises:
        InputError: if it is neither, or out of range.
    """
    if isinstance(text, Pattern):
        return text
    percent = _percent(text)
    if percent is not None:
        raise InputError(f"The sparsity {text!r} is beyond 1; write {percent / 100:.15g} for {percent:g} %.")
    if isinstance(text, int) and text >= 60:
        if text > _LARGEST_TIME:
            raise InputError("The sparsity is an integer of many digits; give a fraction in [0, 1), such as 0.5.")
        n, m = divmod(text, 60)
        raise InputError(f"The sparsity {text} is what YAML makes of {n}:{m} without quotes, a time; write '{n}:{m}'.")
    written = str(text).strip()
    structured = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,6})", written)
    if structured:
        kept, group = int(structured[1]), int(structured[2])
        if not 0 < kept < group:
            raise InputError(
                f"The sparsity {written!r} keeps {kept} of every {group} weights; N:M needs 0 < N < M, for example 2:4."
            )
        return Pattern(fraction=1 - kept / group, kept=kept, group=group)
    try:
        fraction = float(written)
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction < 1:
        raise InputError(
            f"The sparsity {written[:40]!r} is neither a fraction in [0, 1), such as 0.5, nor an N:M pattern, such as "
            "2:4."
        )
    return Pattern(fraction=abs(fraction))  # -0.0 is zero


def _percent(text: object) -> float | None:
    """The percentage that a number of 5 to 100 must mean, as number or as text, with or without the sign."""
    written = str(text).strip() if isinstance(text, str | float) or (type(text) is int and text <= 100) else ""
    matched = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,9})?) ?(%?)", written)
    number = float(matched[1]) if matched else 0.0
    return number if matched and (5 <= number < 100 or (matched[2] and number < 100)) else None


def parse_layer_pattern(text: object, sparsity: Pattern) -> Pattern:
    """Read the pattern of one layer beside the N:M pattern of the others: ``dense``, or one that keeps more of a group.

    Raises:
        InputError: if it is neither, or has groups of another size.
    """
    if text == "dense":
        return DENSE
    pattern = parse_pattern(text)  # type: ignore[arg-type]
    if pattern.group is None or pattern.group != sparsity.group or pattern.fraction > sparsity.fraction:
        raise InputError(
            f"A layer beside the pattern {sparsity} cannot have {str(text)!r}; it can be dense, or keep at least "
            f"{sparsity.kept} of every {sparsity.group} weights."
        )
    return pattern


def layer_pattern_text(pattern: Pattern) -> str:
    """The text that ``parse_layer_pattern`` reads."""
    return str(pattern) if pattern.is_structured else "dense"
