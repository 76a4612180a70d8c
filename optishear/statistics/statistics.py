"""Activation statistics: the squared L2 norm of every input channel of every prunable layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from optishear.errors import InputError, first_line
from optishear.files import write_aside

SCHEMA = pa.schema(
    [
        pa.field("layer", pa.string(), nullable=False),
        pa.field("squared_norms", pa.list_(pa.float32()), nullable=False),
        pa.field("tokens", pa.int64()),
    ]
)
# With fewer tokens the norm of a channel is off by some 20 %, more than two metrics differ by.
EXPERT_TOKENS = 64


@dataclass(frozen=True)
class Statistics:
    """What the dense model's layers saw.

    Attributes:
        squared_norms: for each layer's name a float32 tensor [in]: the squared L2 norm of each input channel
            over a calibration sequence, averaged over the sequences.
        tokens: for each layer of an expert, how many calibration tokens the router sent to it.
        gradients: for each layer's name a float16 tensor [out, in], as ``collect_gradients`` makes them; only where a
            metric asks for them, since they are as large as the weights. ``save`` does not write them.
    """

    squared_norms: dict[str, Tensor]
    gradients: dict[str, Tensor] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    @property
    def few_tokens(self) -> dict[str, int]:
        """The layers of experts whose statistics are those of all experts of their block, and the tokens they got."""
        return {name: count for name, count in self.tokens.items() if count < EXPERT_TOKENS}

    @property
    def few_tokens_in_words(self) -> str:
        """A sentence on the experts of ``few_tokens``; empty where there are none."""
        return describe_few_tokens(
            self.few_tokens, len(self.tokens), EXPERT_TOKENS, "take the statistics of all experts of their block"
        )

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Write a Parquet file: one row per layer, columns ``layer``, ``squared_norms`` and ``tokens``.

        Args:
            path: the file.
            metadata: where the statistics came from (model, calibration, code version), kept in the schema.
        """
        table = pa.table(
            {
                "layer": list(self.squared_norms),
                "squared_norms": [values.tolist() for values in self.squared_norms.values()],
                "tokens": [self.tokens.get(name) for name in self.squared_norms],
            },
            schema=SCHEMA.with_metadata(metadata),
        )
        with write_aside(path) as aside:
            pq.write_table(table, aside)

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Read a file that ``save`` wrote.

        Raises:
            InputError: if it is missing or holds something else.
        """
        try:
            table = pq.read_table(path)
            # Files of earlier versions have no tokens.
            columns = [name for name in SCHEMA.names if name != "tokens" or name in table.column_names]
            table = table.select(columns).cast(pa.schema([SCHEMA.field(name) for name in columns]))
            names, rows = table.column("layer").to_pylist(), table.column("squared_norms")
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            reason = first_line(error)
            raise InputError(f"The statistics {str(path)!r} cannot be read ({reason}).") from None
        tokens = table.column("tokens").to_pylist() if "tokens" in columns else [None] * len(names)
        missing = rows.null_count or any(row.values.null_count for row in rows)
        if missing or None in names or len(set(names)) < len(names) or any((count or 0) < 0 for count in tokens):
            raise InputError(
                f"The statistics {str(path)!r} have a layer twice, a row without its name or its numbers, or a count "
                "of tokens below zero; take them again."
            )
        return cls(
            {
                name: torch.from_numpy(rows[index].values.to_numpy(zero_copy_only=False).copy())
                for index, name in enumerate(names)
            },
            tokens={name: count for name, count in zip(names, tokens, strict=True) if count is not None},
        )

    def of(self, layer: str, width: int) -> Tensor:
        """The squared norms [in] of one layer.

        Raises:
            InputError: if the statistics were taken on another model, or are no finite squares.
        """
        values = self.squared_norms.get(layer)
        if values is None or len(values) != width:
            raise InputError(
                f"The statistics do not fit the model: {layer} has {width} inputs, the statistics hold "
                f"{'none' if values is None else len(values)} for it; take them again on this model."
            )
        if not bool((values.isfinite() & (values >= 0)).all()):
            raise InputError(
                f"The statistics of the layer {layer!r} are not finite, or are squares below zero; take them again, on "
                "a model and in a dtype whose outputs are finite."
            )
        return values

    def gradient_of(self, layer: str, shape: tuple[int, ...]) -> Tensor:
        """The scaled gradient norms [out, in] of one layer.

        Raises:
            InputError: if there are none, or they are another model's.
        """
        values = self.gradients.get(layer)
        if values is None or tuple(values.shape) != shape:
            raise InputError(
                f"The statistics hold no gradients for {layer}, which the metric needs; collect them on this model."
            )
        return values


def describe_few_tokens(few: Mapping[str, int], layers: int, smallest: int, consequence: str) -> str:
    """A sentence on experts with few tokens; empty where there are none.

    Args:
        few: the layers of experts that got few tokens, and how many.
        layers: number of layers of experts.
        smallest: number of tokens that are enough.
        consequence: what follows for these layers, as the end of the sentence.
    """
    if not few:
        return ""
    named = ", ".join(f"{name} ({count})" for name, count in list(few.items())[:3])
    rest = f" and {len(few) - 3} more" if len(few) > 3 else ""
    return (
        f"{len(few)} of {layers} layers of experts got fewer than {smallest} calibration tokens and {consequence}: "
        f"{named}{rest}."
    )
