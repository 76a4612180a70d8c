"""What is known about a pruned model layer by layer: the tables, their files, and the numbers that sum them up."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from optishear.diagnosis.alignment import shrank_by
from optishear.files import write_aside
from optishear.models.layers import KINDS


class DiagnosisSummary(BaseModel):
    """Means over all linear layers, by method: ``wanda``, ``pruned``, ``masked``.

    Attributes:
        alignment_distance: between the scales of transformed weights and activations, in orders of magnitude.
        alignment_shrank_by: relative reduction of Wanda's mean distance by the recipe's metric; negative if the
            distance grew, ``None`` if Wanda's is zero.
        alignment_shrank_by_kind: the same for the layers of each kind.
        activation_share: of the decision inside a row.
        layer_error: relative error of a linear layer's output.
        last_block_error: relative error of the hidden states after the last decoder block; empty for routed models.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alignment_distance: dict[str, float]
    alignment_shrank_by: float | None
    alignment_shrank_by_kind: dict[str, float | None]
    activation_share: dict[str, float]
    layer_error: dict[str, float]
    last_block_error: dict[str, float]

    def numbers(self) -> dict[str, float]:
        """The numbers under names such as ``layer_error/pruned``."""
        numbers: dict[str, float] = {}
        for name, value in self.model_dump().items():
            by_method = value if isinstance(value, dict) else {"pruned": value}
            numbers |= {f"{name}/{method}": number for method, number in by_method.items() if number is not None}
        return numbers


@dataclass(frozen=True)
class Diagnosis:
    """Tables with a column ``method``: ``wanda``, ``pruned`` (what was written), ``masked`` (before reconstruction).

    Attributes:
        alignment: scales of transformed weights and activations by layer (``diagnosis.alignment``).
        distributions: histograms of both by kind of layer (``diagnosis.distributions``).
        layer_errors: relative output error of each linear layer (``diagnosis.layer_errors``).
        block_errors: relative error of the hidden states after each decoder block; empty for routed models.
    """

    alignment: pa.Table
    distributions: pa.Table
    layer_errors: pa.Table
    block_errors: pa.Table

    def save(self, folder: Path) -> None:
        """Write one Parquet file per table."""
        for name, table in self._tables():
            with write_aside(folder / f"{name}.parquet") as aside:
                pq.write_table(table, aside)

    @classmethod
    def load(cls, folder: Path) -> "Diagnosis":
        """Read what ``save`` wrote."""
        return cls(**{field.name: pq.read_table(folder / f"{field.name}.parquet") for field in fields(cls)})

    def summary(self) -> DiagnosisSummary:
        """The means over all linear layers."""
        distance = _means(self.alignment, "distance")
        last = pc.max(self.block_errors["decoder_layer"]).as_py()
        return DiagnosisSummary(
            alignment_distance=distance,
            alignment_shrank_by=shrank_by(distance.get("wanda"), distance.get("pruned")),
            alignment_shrank_by_kind=self._shrank_by_kind(),
            activation_share=_means(self.alignment, "activation_share"),
            layer_error=_means(self.layer_errors, "relative_error"),
            last_block_error=_means(
                self.block_errors.filter(pc.equal(self.block_errors["decoder_layer"], last)), "relative_error"
            ),
        )

    def _shrank_by_kind(self) -> dict[str, float | None]:
        kinds = set(self.alignment["kind"].to_pylist())
        distances = {
            kind: _means(self.alignment.filter(pc.equal(self.alignment["kind"], kind)), "distance")
            for kind in KINDS
            if kind in kinds
        }
        return {
            kind: shrank_by(by_method.get("wanda"), by_method.get("pruned")) for kind, by_method in distances.items()
        }

    def _tables(self) -> Iterator[tuple[str, pa.Table]]:
        for field in fields(self):
            yield field.name, getattr(self, field.name)


def _means(table: pa.Table, column: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for row in table.select(["method", column]).to_pylist():
        if math.isfinite(row[column]):
            values.setdefault(row["method"], []).append(row[column])
    return {method: sum(numbers) / len(numbers) for method, numbers in values.items()}
