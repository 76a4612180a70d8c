"""The model's weights under one candidate after another, changed in place and restored at the end."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from optishear.masks.select import empty_ranks, keep_mask, row_ranks
from optishear.metrics.canonical import MetricKey, metric_key
from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.metrics.score import LayerScores, WeightSums, weight_sums
from optishear.models.layers import PrunableLayer
from optishear.pattern import Pattern
from optishear.statistics.statistics import Statistics

# Weights that one thread prunes at a time: their scores (2 MiB) stay in its caches, and they outweigh the handing over.
WEIGHTS_PER_BLOCK = 2**19


@dataclass
class _Layer:
    layer: PrunableLayer
    original: Tensor
    squared_norms: Tensor
    sums: WeightSums
    applied: tuple[MetricKey, int] | None = None
    metric: MetaMetric | PowerMetric | None = None
    ranks: Tensor | None = None
    ranks_of: MetricKey | None = None

    def scores(self, metric: MetaMetric | PowerMetric) -> LayerScores:
        return LayerScores(metric, self.original, self.squared_norms, self.sums)


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
                original=layer.module.weight.detach().clone(memory_format=torch.contiguous_format),
                squared_norms=statistics.of(layer.name, layer.module.in_features),
                sums=weight_sums(layer.module.weight),
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
            self._change(layer, metric, count)
            for layer, metric, count in zip(self._layers, metrics, pruned_per_row, strict=True)
            if layer.applied != (metric_key(metric), count)
        ]
        blocks = [(change, rows) for change in changes for rows in _row_blocks(change.layer.original)]
        if len(blocks) > 1:
            list(_threads().map(self._prune, *zip(*blocks, strict=True)))
        else:
            for block in blocks:
                self._prune(*block)
        for change in changes:
            change.done()
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
        if layer.applied is None or layer.metric is None:
            raise RuntimeError("no candidate is on the weights")
        key, count = layer.applied
        inputs = gradient.shape[1]
        width = max(2, int(band * inputs))
        if layer.ranks is None or layer.ranks_of != key:
            ranks = self._compute_ranks(layer, layer.metric)
            # Who asks for the costs is about to change the counts.
            layer.ranks_of = key
        else:
            ranks = layer.ranks
        near = (ranks >= count - width) & (ranks < count + width)
        weights = torch.empty_like(layer.original)
        masked(layer.original, near, weights)
        total = torch.dot(gradient.flatten().float(), weights.flatten().float())
        # Each rank is there once in every row.
        columns = min(count + width, inputs) - max(count - width, 0)
        return -float(total) / max(1, columns * len(gradient))

    @torch.no_grad()
    def _prune(self, change: "_Change", rows: slice) -> None:
        """Write some rows of a layer: the mask by one comparison where ranks are kept, else by a selection."""
        layer = change.layer
        if change.scores is None:
            assert layer.ranks is not None
            mask = layer.ranks[rows] >= change.count
        else:
            values = change.scores.rows(rows)
            if change.keeps_ranks:
                assert layer.ranks is not None
                layer.ranks[rows] = row_ranks(values)
                mask = layer.ranks[rows] >= change.count
            else:
                mask = keep_mask(values, self.pattern, change.count)
        masked(layer.original[rows], mask, layer.layer.module.weight.detach()[rows])

    def _change(self, layer: _Layer, metric: MetaMetric | PowerMetric, count: int) -> "_Change":
        """What a layer's change needs; ranks are kept if only its count changes and the budget allows."""
        key = metric_key(metric)
        if layer.ranks is not None and layer.ranks_of == key:
            return _Change(layer, metric, key, count, scores=None, keeps_ranks=True)
        only_the_count_changes = layer.applied is not None and layer.applied[0] == key
        keeps_ranks = only_the_count_changes and not self.pattern.is_structured
        keeps_ranks = keeps_ranks and self._has_room_for_ranks(layer)
        return _Change(layer, metric, key, count, layer.scores(metric), keeps_ranks)

    def _compute_ranks(self, layer: _Layer, metric: MetaMetric | PowerMetric) -> Tensor:
        """The ranks of a layer, in the room that is kept for them where there is one."""
        ranks = layer.ranks if self._has_room_for_ranks(layer) else empty_ranks(layer.original)
        assert ranks is not None
        scores = layer.scores(metric)

        def rank(rows: slice) -> None:
            ranks[rows] = row_ranks(scores.rows(rows))

        list(_threads().map(rank, _row_blocks(layer.original)))
        return ranks

    def _has_room_for_ranks(self, layer: _Layer) -> bool:
        """Whether the layer has, or now gets, memory for its ranks."""
        if layer.ranks is None:
            room = empty_ranks(layer.original)
            if self.rank_cache_bytes + room.nbytes > self.memory_budget:
                return False
            layer.ranks = room
            self.rank_cache_bytes += room.nbytes
        return True


@dataclass(frozen=True)
class _Change:
    """A layer that gets another mask: from its ranks as they are kept (no scores), or from scores."""

    layer: _Layer
    metric: MetaMetric | PowerMetric
    key: MetricKey
    count: int
    scores: LayerScores | None
    keeps_ranks: bool

    def done(self) -> None:
        """Note what is on the layer now."""
        self.layer.applied, self.layer.metric = (self.key, self.count), self.metric
        if self.keeps_ranks:
            self.layer.ranks_of = self.key


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


def _row_blocks(weight: Tensor) -> list[slice]:
    """Rows of a layer that are pruned at a time: on a CPU by one thread and in its caches, else all.

    Whole multiples of 64, as ``LayerScores`` asks for.
    """
    height = len(weight) if weight.device.type != "cpu" else max(1, WEIGHTS_PER_BLOCK // weight.shape[1] // 64) * 64
    return [slice(start, start + height) for start in range(0, len(weight), height)]


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="masks")
