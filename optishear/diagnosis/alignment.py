"""Alignment: the distance between transformed weights and transformed activations in a layer.

The paper's abstract (arXiv 2502.10735v2) reports that searched metrics reduce the discrepancy between the two by up to
90 %. Here it is ``|log10 mean(T_W) - log10 mean(T_X)|``, in orders of magnitude. That number changes with a constant
factor, which no mask sees, so ``activation_share`` stands beside it: the share of the variance of log S inside a row
that comes from the activations. It is the same for every way of writing a metric, 1/2 where both have an equal say.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa
import torch
from torch import Tensor

from optishear.diagnosis.factors import LN10
from optishear.models.layers import PrunableLayer


@dataclass(frozen=True)
class Alignment:
    """Scales of a layer's two factors under one metric.

    Attributes:
        layer: the layer's name.
        decoder_layer: the decoder block that holds it.
        kind: attention_in, attention_out, mlp_in or mlp_out.
        method: whose metric it is: ``wanda``, or the recipe's name.
        weight_scale: log10 of the mean transformed weight.
        activation_scale: log10 of the mean transformed activation norm.
        distance: between the two, in orders of magnitude.
        activation_share: variance of log T_X over the channels, divided by itself plus the variance of log T_W
            inside a row; NaN where neither varies.
    """

    layer: str
    decoder_layer: int
    kind: str
    method: str
    weight_scale: float
    activation_scale: float
    distance: float
    activation_share: float


SCHEMA = pa.schema(
    [
        pa.field("layer", pa.string()),
        pa.field("decoder_layer", pa.int32()),
        pa.field("kind", pa.string()),
        pa.field("method", pa.string()),
        pa.field("weight_scale", pa.float64()),
        pa.field("activation_scale", pa.float64()),
        pa.field("distance", pa.float64()),
        pa.field("activation_share", pa.float64()),
        pa.field("shrank_by", pa.float64()),
    ]
)


def alignment(layer: PrunableLayer, method: str, weights: Tensor, activations: Tensor) -> Alignment:
    """The alignment of one layer under one metric.

    Args:
        layer: the layer.
        method: ``wanda``, or the recipe's name.
        weights: [out, in], log10 of the transformed weights.
        activations: [1, in], log10 of the transformed activation norms.
    """
    weight_scale, activation_scale = log_mean(weights), log_mean(activations)
    of_weights, of_activations = _variance(weights), _variance(activations)
    total = of_weights + of_activations
    return Alignment(
        layer=layer.name,
        decoder_layer=layer.decoder_layer,
        kind=layer.kind,
        method=method,
        weight_scale=weight_scale,
        activation_scale=activation_scale,
        distance=abs(weight_scale - activation_scale),
        activation_share=of_activations / total if total else math.nan,
    )


def alignment_table(rows: Iterable[Alignment]) -> pa.Table:
    """One row per layer and method, with ``shrank_by``: the relative reduction of Wanda's distance in the layer.

    It is null for Wanda itself, if Wanda's distance is zero, and if a layer has no row of Wanda.
    """
    alignments = list(rows)
    wanda = {row.layer: row.distance for row in alignments if row.method == "wanda"}

    shrank = [None if row.method == "wanda" else shrank_by(wanda.get(row.layer), row.distance) for row in alignments]
    rows_of_table = [{**asdict(row), "shrank_by": share} for row, share in zip(alignments, shrank, strict=True)]
    return pa.Table.from_pylist(rows_of_table, schema=SCHEMA)


def shrank_by(wanda: float | None, distance: float | None) -> float | None:
    """Relative reduction of Wanda's distance, negative for an increase; ``None`` if Wanda's is zero."""
    return None if not wanda or distance is None else 1 - distance / wanda


def log_mean(logarithms: Tensor) -> float:
    """log10 of the mean of the values whose base-10 logarithms are given; values that are not a number are skipped."""
    logarithm, count = _log_sum(logarithms), logarithms.numel()
    if not math.isfinite(logarithm):
        unusable = torch.isnan(logarithms) | (logarithms == torch.inf)
        logarithm = _log_sum(logarithms.masked_fill(unusable, -torch.inf))
        count -= int(unusable.sum())
    return (logarithm - math.log(count)) / LN10 if count else math.nan


def _log_sum(logarithms: Tensor) -> float:
    """Natural logarithm of the sum of all values, row by row in float32, the rows' sums in float64."""
    rows = torch.logsumexp(logarithms.flatten(0, -2) * LN10, dim=-1)
    return float(torch.logsumexp(rows.double().flatten(), dim=0))


def _variance(logarithms: Tensor) -> float:
    """Variance inside a row, averaged over the rows; zeros (minus infinity) and what is no number are left out."""
    finite = torch.isfinite(logarithms)
    counts = finite.sum(dim=1, keepdim=True)
    values = torch.where(finite, logarithms, 0)
    means = values.sum(dim=1, keepdim=True) / counts.clamp_min(1)
    squares = torch.where(finite, (values - means).square_(), 0).sum(dim=1, keepdim=True)
    used = counts > 1
    return float((squares / counts.clamp_min(1))[used].mean()) if used.any() else 0.0
