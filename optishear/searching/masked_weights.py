"""Apply candidates to a model's weights in place, and restore the dense weights at the end."""

import functools
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from optishear.masks.masked import write_masked
from optishear.masks.select import empty_ranks, keep_mask, row_ranks
from optishear.metrics.canonical import MetricKey, metric_key
from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.metrics.score import LayerScores, WeightSums, weight_sums
from optishear.models.layers import PrunableLayer
from optishear.pattern import Pattern
from optishear.row_blocks import row_blocks
from optishear.searching.host_copy import HostCopy
from optishear.statistics.statistics import Statistics
from optishear.units import format_bytes

logger = logging.getLogger("optishear.searching")


@dataclass
class _Layer:
    """A layer and its dense weight: a copy, or the model's own, restored before each mask from a copy on the host."""

    index: int
    layer: PrunableLayer
    dense: Tensor
    squared_norms: Tensor
    sums: WeightSums
    applied: tuple[MetricKey, int] | None = None
    metric: MetaMetric | PowerMetric | None = None
    ranks: Tensor | None = None
    ranks_of: MetricKey | None = None

    @property
    def weight(self) -> Tensor:
        return self.layer.module.weight.detach()

    def scores(self, metric: MetaMetric | PowerMetric, dense: Tensor) -> LayerScores:
        return LayerScores(metric, dense, self.squared_norms, self.sums)

    def blocks(self) -> list[slice]:
        return row_blocks(self.dense)


class MaskedWeights:
    """A context manager that applies candidates to a model and restores the dense weights on exit.

    It holds one copy of the prunable weights. A layer is written only if its metric or its count changed. If only the
    count changes, the ranks of the layer are computed once and cached (2 bytes per weight, within the memory budget);
    a mask is then one comparison.

    A copy on the host takes no memory of the GPU. Each layer that changes is then copied from there first, and each
    layer once in a backward pass.
    """

    def __init__(
        self,
        layers: list[PrunableLayer],
        statistics: Statistics,
        pattern: Pattern,
        memory_budget: float,
        copy_on_host: bool = False,
    ) -> None:
        """Copy the weights.

        Args:
            layers: the model's prunable layers.
            statistics: statistics of the dense model.
            pattern: the pattern of all candidates.
            memory_budget: limit of the rank cache in bytes, on each device.
            copy_on_host: keep the dense weights of GPUs in the host's memory.
        """
        self.pattern = pattern
        self.memory_budget = memory_budget
        self._cached: Counter[torch.device] = Counter()
        weights = [layer.module.weight.detach() for layer in layers]
        self.host_copy = HostCopy(
            {index: weight for index, weight in enumerate(weights) if copy_on_host and weight.device.type != "cpu"}
        )
        self._layers = [
            _Layer(
                index=index,
                layer=layer,
                dense=weight if index in self.host_copy else weight.clone(memory_format=torch.contiguous_format),
                squared_norms=statistics.of(layer.name, layer.module.in_features),
                sums=weight_sums(weight),
            )
            for index, (layer, weight) in enumerate(zip(layers, weights, strict=True))
        ]

    @property
    def rank_cache_bytes(self) -> int:
        """Bytes of the ranks that are kept, on all devices."""
        return self._cached.total()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()
        if self.host_copy.uploaded_bytes:
            uploaded = format_bytes(self.host_copy.uploaded_bytes)
            logger.info("the dense weights were in the host's memory; %s were copied to the GPU", uploaded)

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the dense weights."""
        for layer in self._layers:
            if layer.index in self.host_copy:
                self.host_copy.read(layer.index, layer.weight)
            else:
                layer.weight.copy_(layer.dense)
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
        for change in changes:
            change.layer.applied = None  # until it is written
        _for_each(
            [
                (change.layer.dense.device, functools.partial(self._prune, change, rows))
                for change in changes
                if change.layer.index not in self.host_copy
                for rows in change.layer.blocks()
            ]
        )
        restored = {change.layer.index: change for change in changes if change.layer.index in self.host_copy}
        for index in self.host_copy.restored(list(restored)):
            for rows in restored[index].layer.blocks():
                self._prune(restored[index], rows)
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
        dense = self._dense(layer)
        near_weights = dense if index in self.host_copy else torch.empty_like(dense)
        if layer.ranks is None or layer.ranks_of != key:
            ranks = self._compute_ranks(layer, layer.metric, dense)
            # The caller changes the counts next and needs these ranks again.
            layer.ranks_of = key
        else:
            ranks = layer.ranks
        for rows in layer.blocks():
            near = (ranks[rows] >= count - width) & (ranks[rows] < count + width)
            write_masked(dense[rows], near, near_weights[rows])
        total = torch.dot(gradient.flatten().float(), near_weights.flatten().float())
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
        dense = self._dense(layer)
        scores = layer.scores(layer.metric, dense)
        sums = [0.0] * len(counts)
        for rows in layer.blocks():
            values = scores.rows(rows)
            products = dense[rows].float() * gradient[rows].float()
            for position, count in enumerate(counts):
                if count:
                    sums[position] -= float(products.masked_fill(keep_mask(values, self.pattern, count), 0).sum())
        return sums

    def _dense(self, layer: _Layer) -> Tensor:
        """The dense weight of a layer on its device; from the host's copy, a tensor that the caller may overwrite."""
        if layer.index not in self.host_copy:
            return layer.dense
        return self.host_copy.read(layer.index, torch.empty_like(layer.weight))

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
        write_masked(layer.dense[rows], mask, layer.weight[rows])

    def _change(self, layer: _Layer, metric: MetaMetric | PowerMetric, count: int) -> "_Change":
        """The change of a layer; its ranks are cached if only its count changes and the budget allows it."""
        key = metric_key(metric)
        if layer.ranks is not None and layer.ranks_of == key:
            return _Change(layer, metric, key, count, scores=None, keeps_ranks=True)
        only_the_count_changes = layer.applied is not None and layer.applied[0] == key
        keeps_ranks = only_the_count_changes and not self.pattern.is_structured
        keeps_ranks = keeps_ranks and self._has_room_for_ranks(layer)
        return _Change(layer, metric, key, count, layer.scores(metric, layer.dense), keeps_ranks)

    def _compute_ranks(self, layer: _Layer, metric: MetaMetric | PowerMetric, dense: Tensor) -> Tensor:
        """The ranks of a layer, written to its cache if it has one."""
        ranks = layer.ranks if self._has_room_for_ranks(layer) else empty_ranks(dense)
        assert ranks is not None
        scores = layer.scores(metric, dense)

        def rank(rows: slice) -> None:
            ranks[rows] = row_ranks(scores.rows(rows))

        _for_each([(dense.device, functools.partial(rank, rows)) for rows in layer.blocks()])
        return ranks

    def _has_room_for_ranks(self, layer: _Layer) -> bool:
        """Whether the layer has memory for its ranks; allocates it if the budget allows it."""
        if layer.ranks is None:
            ranks = empty_ranks(layer.dense)
            if self._cached[ranks.device] + ranks.nbytes > self.memory_budget:
                return False
            layer.ranks = ranks
            self._cached[ranks.device] += ranks.nbytes
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
