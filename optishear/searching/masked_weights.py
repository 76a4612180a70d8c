"""The model's weights under one candidate after another, changed in place and restored at the end."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from optishear.masks.select import keep_mask, row_masks, row_ranks
from optishear.metrics.canonical import canonical_key
from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.metrics.score import scores
from optishear.models.layers import PrunableLayer
from optishear.pattern import Pattern
from optishear.statistics.statistics import Statistics

MetricKey = tuple[str | float, ...]

# Scores of this many weights exist at a time (32 MiB): enough rows for all threads, little enough for the caches.
WEIGHTS_PER_BATCH = 2**23


@dataclass
class _Layer:
    layer: PrunableLayer
    original: Tensor
    squared_norms: Tensor
    applied: tuple[MetricKey, int] | None = None
    metric: MetaMetric | PowerMetric | None = None
    ranks: Tensor | None = None
    ranks_of: MetricKey | None = None


def metric_key(metric: MetaMetric | PowerMetric) -> MetricKey:
    """A key that is equal for metrics that give equal masks."""
    if isinstance(metric, MetaMetric):
        return canonical_key(metric)
    return ("exponents", metric.activation_exponent, metric.sums_exponent, metric.column_share)


class MaskedWeights:
    """A context in which candidates are applied to a model; leaving it restores the dense weights.

    One copy of the prunable weights is kept. A layer is touched only when its metric or its count changed. When
    a layer keeps its metric and only the count changes, its ranks are computed once and kept (2 bytes a weight,
    as far as the memory budget goes), after which a mask is one comparison.
    """

    def __init__(
        self, layers: list[PrunableLayer], statistics: Statistics, pattern: Pattern, memory_budget: float
    ) -> None:
        """Copy the weights.

        Args:
            layers: the model's prunable layers.
            statistics: taken on the dense model.
            pattern: the pattern of all candidates.
            memory_budget: bytes that the rank cache may take.
        """
        self.pattern = pattern
        self.memory_budget = memory_budget
        self.rank_cache_bytes = 0
        self._layers = [
            _Layer(
                layer=layer,
                original=layer.module.weight.detach().clone(),
                squared_norms=statistics.of(layer.name, layer.module.in_features),
            )
            for layer in layers
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    @torch.no_grad()
    def restore(self) -> None:
        """Put the dense weights back."""
        for layer in self._layers:
            layer.layer.module.weight.copy_(layer.original)
            layer.applied = None

    @torch.no_grad()
    def apply(self, metrics: list[MetaMetric | PowerMetric], pruned_per_row: list[int]) -> int:
        """Prune each layer by its metric and its count, from the dense weights.

        Returns:
            The number of layers that had to be touched.
        """
        changes = [
            _Change(layer, metric, metric_key(metric), count)
            for layer, metric, count in zip(self._layers, metrics, pruned_per_row, strict=True)
            if layer.applied != (metric_key(metric), count)
        ]
        for batch in _batches(changes):
            for change, mask in zip(batch, self._masks(batch), strict=True):
                change.put(mask)
        return len(changes)

    @torch.no_grad()
    def mean_near_threshold(self, index: int, gradient: Tensor, band: float) -> float:
        """Mean of -gradient * dense weight over the weights of a layer that are next to its threshold.

        Args:
            index: the layer's place.
            gradient: [out, in].
            band: half-width of the neighbourhood, as a share of the row length.
        """
        layer = self._layers[index]
        if layer.applied is None:
            raise RuntimeError("no candidate is on the weights")
        key, count = layer.applied
        width = max(2, int(band * gradient.shape[1]))
        if layer.ranks is not None and layer.ranks_of == key:
            ranks = layer.ranks
        else:
            assert layer.metric is not None
            ranks = row_ranks(scores(layer.metric, layer.original, layer.squared_norms))
        near = (ranks >= count - width) & (ranks < count + width)
        return -float((gradient * layer.original * near).sum(dtype=torch.float32)) / max(1, int(near.sum()))

    def _masks(self, batch: list["_Change"]) -> list[Tensor]:
        """Masks of some layers: by one comparison where ranks are kept, else by a selection for all at a time."""
        for change in batch:
            self._rank(change)
        scored = [change for change in batch if not change.is_ranked]
        values = [scores(change.metric, change.layer.original, change.layer.squared_norms) for change in scored]
        if self.pattern.is_structured:
            return [keep_mask(each, self.pattern) for each in values]
        selected = iter(row_masks(values, [change.count for change in scored]))
        return [change.ranks_mask() if change.is_ranked else next(selected) for change in batch]

    def _rank(self, change: "_Change") -> None:
        """Compute and keep a layer's ranks, if only its count changes and the budget allows."""
        layer = change.layer
        only_the_count_changes = layer.applied is not None and layer.applied[0] == change.key
        if self.pattern.is_structured or change.is_ranked or not only_the_count_changes:
            return
        size = layer.original.numel() * 2
        if layer.ranks is None:
            if self.rank_cache_bytes + size > self.memory_budget:
                return
            self.rank_cache_bytes += size
        layer.ranks = row_ranks(scores(change.metric, layer.original, layer.squared_norms))
        layer.ranks_of = change.key


@dataclass(frozen=True)
class _Change:
    """A layer that gets another mask."""

    layer: _Layer
    metric: MetaMetric | PowerMetric
    key: MetricKey
    count: int

    @property
    def is_ranked(self) -> bool:
        return self.layer.ranks is not None and self.layer.ranks_of == self.key

    def ranks_mask(self) -> Tensor:
        assert self.layer.ranks is not None
        return self.layer.ranks >= self.count

    def put(self, mask: Tensor) -> None:
        """Write the masked weights to the model."""
        masked(self.layer.original, mask, self.layer.layer.module.weight)
        self.layer.applied, self.layer.metric = (self.key, self.count), self.metric


def masked(original: Tensor, mask: Tensor, out: Tensor) -> None:
    """Write a weight to ``out`` with zeros where the mask is False, whatever the weight holds there.

    The bits of what is kept are taken by a bitwise and, several times faster on a CPU than a product of a 16-bit
    float with a boolean.

    Args:
        original: [out, in], any floating dtype.
        mask: [out, in] bool.
        out: [out, in], of the same dtype.
    """
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[original.element_size()]
    ones_where_kept = mask.view(torch.uint8).to(integer).neg_()
    torch.bitwise_and(original.view(integer), ones_where_kept, out=out.view(integer))


def _batches(changes: list[_Change]) -> Iterator[list[_Change]]:
    """Layers whose scores exist at the same time."""
    batch: list[_Change] = []
    size = 0
    for change in changes:
        if batch and size + change.layer.original.numel() > WEIGHTS_PER_BATCH:
            yield batch
            batch, size = [], 0
        batch.append(change)
        size += change.layer.original.numel()
    if batch:
        yield batch
