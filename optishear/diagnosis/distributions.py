"""Histograms of weights and activation norms, before a metric transforms them and after."""

from collections import defaultdict

import pyarrow as pa
import torch
from torch import Tensor

from optishear.models.layers import PrunableLayer

# Ten bins to an order of magnitude, over 60 orders; values beyond are counted in the outermost bins.
BINS_PER_DECADE = 10
_REACH = 30 * BINS_PER_DECADE

SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string()),
        pa.field("method", pa.string()),
        pa.field("factor", pa.string()),
        pa.field("log10_low", pa.float64()),
        pa.field("log10_high", pa.float64()),
        pa.field("count", pa.int64()),
    ]
)


class Distributions:
    """Counts by kind of layer, method and factor, added up layer by layer; memory does not grow with the model."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], Tensor] = defaultdict(
            lambda: torch.zeros(2 * _REACH, dtype=torch.int64)
        )

    def add(self, layer: PrunableLayer, method: str, weights: Tensor, activations: Tensor) -> None:
        """Count a layer's values; zeros are skipped, as a logarithmic axis has no place for them.

        Args:
            layer: the layer.
            method: ``wanda``, whose metric transforms nothing, or the recipe's name.
            weights: [out, in], log10 of the transformed weights.
            activations: [1, in], log10 of the transformed activation norms.
        """
        for factor, values in (("weights", weights), ("activations", activations)):
            bins = torch.where(values.isinf(), torch.nan, values * BINS_PER_DECADE).floor_().clamp_(-_REACH, _REACH - 1)
            # Values without a bin go to one below the lowest, which is cut off.
            bins = bins.add_(_REACH + 1).nan_to_num_(nan=0).to(torch.int32).flatten()
            self._counts[layer.kind, method, factor] += torch.bincount(bins, minlength=2 * _REACH + 1)[1:].cpu()

    def table(self) -> pa.Table:
        """One row per kind, method, factor and non-empty bin; a bin includes its lower end."""
        rows = []
        for (kind, method, factor), counts in self._counts.items():
            for index in counts.nonzero().flatten().tolist():
                rows.append(
                    {
                        "kind": kind,
                        "method": method,
                        "factor": factor,
                        "log10_low": (index - _REACH) / BINS_PER_DECADE,
                        "log10_high": (index - _REACH + 1) / BINS_PER_DECADE,
                        "count": int(counts[index]),
                    }
                )
        return pa.Table.from_pylist(rows, schema=SCHEMA)
