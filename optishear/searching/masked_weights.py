"""Apply candidates to a model's weights in place, and restore the dense weights at the end."""

import functools
from collections.abc import Callable
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

# Weights that one thread prunes at a time: their scores (2 MiB) stay in its caches.
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
    """A context manager that applies candidates to a model and restores the dense weights on exit.

    It holds one copy of the prunable weights. A layer is written only if its metric or its count changed. If only the
    count changes, the ranks of the layer are computed once and cached (2 bytes per weight, within the memory budget);
    a mask is then one comparison.
    """

    def __init__(
        self, layers: list[PrunableLayer], statistics: Statistics, pattern: Pattern, memory_budget: float
    ) -> None:
        """Copy the weights.

        Args:
            layers: the model's prunable layers.
            statistics: statistics of the dense model.
            pattern: the pattern of all candidates.
            memory_budget: limit of the rank cache in bytes.
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
        """Restore the dense weights."""
        for layer in self._layers:
            layer.layer.module.weight.copy_(layer.original)
            layer.applied = None

    @torch.no_grad()
    def apply(self, metrics: list[MetaMetric | PowerMetric], pruned_per_row: list[int]) -> int:
        """Prune the dense weights of each layer by its metric and its count.

        Returns:
            The number of layers that were written.
        """
        changes = [
            self._change(layer, metric, count)
            for layer, metric, count in zip(self._layers, metrics, pruned_per_row, strict=True)
            if layer.applied != (metric_key(metric), count)
        ]
        _for_each(
            [
                (change.layer.original.device, functools.partial(self._prune, change, rows))
                for change in changes
                for rows in _row_blocks(change.layer.original)
            ]
        )
        for change in changes:
            change.done()
        return len(changes)

    @torch.no_grad()
    def mean_near_threshold(self, index: int, gradient: Tensor, band: float) -> float:
        """Mean of -gradient * dense weight over the weights of a layer near its threshold.

        Args:
            index: index of the layer.
            gradient: [out, in].
            band: half-width of the neighbourhood in ranks, as a fraction of the row length.
        """
        layer = self._layers[index]
        if layer.applied is None or layer.metric is None:
            raise RuntimeError("no candidate is applied to the weights")
        key, count = layer.applied
        inputs = gradient.shape[1]
        width = max(2, int(band * inputs))
        if layer.ranks is None or layer.ranks_of != key:
            ranks = self._compute_ranks(layer, layer.metric)
            # The caller changes the counts next and needs these ranks again.
            layer.ranks_of = key
        else:
            ranks = layer.ranks
        near = (ranks >= count - width) & (ranks < count + width)
        weights = torch.empty_like(layer.original)
        masked(layer.original, near, weights)
        total = torch.dot(gradient.flatten().float(), weights.flatten().float())
        # Every row has each rank once.
        columns = min(count + width, inputs) - max(count - width, 0)
        return -float(total) / max(1, columns * len(gradient))

    @torch.no_grad()
    def pruned_parts(self, index: int, gradient: Tensor, counts: list[int]) -> list[float]:
        """Sum of -gradient * dense weight over the weights of a layer that each of several counts prunes.

        Args:
            index: index of the layer.
            gradient: [out, in].
            counts: weights pruned in each row.
        """
        layer = self._layers[index]
        if layer.metric is None:
            raise RuntimeError("no candidate is applied to the weights")
        scores = layer.scores(layer.metric)
        sums = [0.0] * len(counts)
        for rows in _row_blocks(layer.original):
            values = scores.rows(rows)
            products = layer.original[rows].float() * gradient[rows].float()
            for position, count in enumerate(counts):
                if count:
                    sums[position] -= float(products.masked_fill_(keep_mask(values, self.pattern, count), 0).sum())
        return sums

    @torch.no_grad()
    def _prune(self, change: "_Change", rows: slice) -> None:
        """Write some rows of a layer: the mask by one comparison if ranks are cached, otherwise by a selection."""
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
        """The change of a layer; its ranks are cached if only its count changes and the budget allows it."""
        key = metric_key(metric)
        if layer.ranks is not None and layer.ranks_of == key:
            return _Change(layer, metric, key, count, scores=None, keeps_ranks=True)
        only_the_count_changes = layer.applied is not None and layer.applied[0] == key
        keeps_ranks = only_the_count_changes and not self.pattern.is_structured
        keeps_ranks = keeps_ranks and self._has_room_for_ranks(layer)
        return _Change(layer, metric, key, count, layer.scores(metric), keeps_ranks)

    def _compute_ranks(self, layer: _Layer, metric: MetaMetric | PowerMetric) -> Tensor:
        """The ranks of a layer, written to its cache if it has one."""
        ranks = layer.ranks if self._has_room_for_ranks(layer) else empty_ranks(layer.original)
        assert ranks is not None
        scores = layer.scores(metric)

        def rank(rows: slice) -> None:
            ranks[rows] = row_ranks(scores.rows(rows))

        blocks = _row_blocks(layer.original)
        _for_each([(layer.original.device, functools.partial(rank, rows)) for rows in blocks])
        return ranks

    def _has_room_for_ranks(self, layer: _Layer) -> bool:
        """Whether the layer has memory for its ranks; allocates it if the budget allows it."""
        if layer.ranks is None:
            ranks = empty_ranks(layer.original)
            if self.rank_cache_bytes + ranks.nbytes > self.memory_budget:
                return False
            layer.ranks = ranks
            self.rank_cache_bytes += ranks.nbytes
        return True


@dataclass(frozen=True)
class _Change:
    """A new mask of a layer, from its cached ranks (without scores) or from scores."""

    layer: _Layer
    metric: MetaMetric | PowerMetric
    key: MetricKey
    count: int
    scores: LayerScores | None
    keeps_ranks: bool

    def done(self) -> None:
        """Record the mask that the layer has now."""
        self.layer.applied, self.layer.metric = (self.key, self.count), self.metric
        if self.keeps_ranks:
            self.layer.ranks_of = self.key


def masked(original: Tensor, mask: Tensor, out: Tensor) -> None:
    """Write a weight to ``out`` with zeros where the mask is False, even where the weight is not finite.

    A bitwise and on the CPU is several times faster than the product of a 16-bit float with a boolean.

    Args:
        original: [out, in], any floating dtype.
        mask: [out, in] bool.
        out: [out, in], of the same dtype.
    """
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[original.element_size()]
    ones_where_kept = mask.view(torch.uint8).to(integer).neg_()
    torch.bitwise_and(original.view(integer), ones_where_kept, out=out.view(integer))


def _row_blocks(weight: Tensor) -> list[slice]:
    """Slices of rows to prune at a time: on a CPU as many as fit a thread's caches, otherwise all.

    Their lengths are multiples of 64, which ``LayerScores`` requires.
    """
    height = len(weight) if weight.device.type != "cpu" else max(1, WEIGHTS_PER_BLOCK // weight.shape[1] // 64) * 64
    return [slice(start, start + height) for start in range(0, len(weight), height)]


def _for_each(work: list[tuple[torch.device, Callable[[], None]]]) -> None:
    """Do the work of each device: on the CPU in as many threads as PyTorch uses, on each GPU one after another.

    Each piece of work needs several times the memory of its weights, and pieces on one GPU do not run at the same time
    anyway, so that a second thread for it would only take memory.
    """
    on_gpus: dict[torch.device, list[Callable[[], None]]] = {}
    queues = []
    for device, piece in work:
        if device.type == "cpu":
            queues.append([piece])
        else:
            on_gpus.setdefault(device, []).append(piece)
    queues += on_gpus.values()
    if len(queues) == 1:
        _in_order(queues[0])
    else:
        list(_threads().map(_in_order, queues))


@torch.no_grad()
def _in_order(pieces: list[Callable[[], None]]) -> None:
    for piece in pieces:
        piece()


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="masks")
