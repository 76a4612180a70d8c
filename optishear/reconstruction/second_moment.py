"""Second moments of layer inputs: H = X^T X / tokens, once for all layers that read the same input."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from optishear.models.inputs import watching_inputs
from optishear.models.layers import PrunableLayer, expert_group
from optishear.statistics.statistics import EXPERT_TOKENS


class SecondMoments:
    """Second moments of the inputs of some layers, accumulated in float32 as the layers run.

    Memory: one matrix [in, in] for each distinct input, whatever the number of tokens.
    """

    def __init__(self, layers: Iterable[PrunableLayer]) -> None:
        self._layers = list(layers)
        self._leaders: dict[str, str] = {}
        self._sums: dict[str, Tensor] = {}
        self._tokens: dict[str, int] = {}
        self._last: tuple[Tensor, str] | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take in every input that the layers read meanwhile."""
        with watching_inputs(self._layers, self._see):
            yield
        self._last = None

    def _see(self, layer: PrunableLayer, read: Tensor) -> None:
        name = layer.name
        if name not in self._leaders:
            # Layers that share an input read it one after another, as the very same tensor.
            shares = self._last is not None and self._last[0] is read
            self._leaders[name] = self._last[1] if shares and self._last else name
        leader = self._leaders[name]
        if leader == name:
            self._add(name, read.detach())
        self._last = (read, leader)

    def _add(self, name: str, read: Tensor) -> None:
        rows = read.flatten(0, -2).float()
        if name not in self._sums:
            self._sums[name] = rows.new_zeros(rows.shape[1], rows.shape[1])
            self._tokens[name] = 0
        self._sums[name].addmm_(rows.T, rows)
        self._tokens[name] += len(rows)

    def groups(self) -> list[tuple[Tensor, list[PrunableLayer]]]:
        """For each distinct input its second moment [in, in] float32 and the layers that read it.

        An expert that got fewer than ``EXPERT_TOKENS`` tokens has the second moment of all experts of its block. A
        layer that never ran otherwise has a second moment of zeros.
        """
        groups: dict[str, list[PrunableLayer]] = {}
        for layer in self._layers:
            groups.setdefault(self._leaders.get(layer.name, layer.name), []).append(layer)
        return [(self._moment(leader, layers[0]), layers) for leader, layers in groups.items()]

    @property
    def few_tokens(self) -> set[str]:
        """The layers of experts that have the second moment of all experts of their block."""
        return {layer.name for layer in self._layers if self._has_few(self._leaders.get(layer.name, layer.name), layer)}

    def _has_few(self, leader: str, layer: PrunableLayer) -> bool:
        return expert_group(layer) is not None and self._tokens.get(leader, 0) < EXPERT_TOKENS

    def _moment(self, leader: str, layer: PrunableLayer) -> Tensor:
        if self._has_few(leader, layer):
            return self._pooled(layer)
        if leader not in self._sums:
            return _no_moment(layer)
        return self._sums[leader] / self._tokens[leader]

    def _pooled(self, layer: PrunableLayer) -> Tensor:
        """Of all tokens that any expert of the block got for the layer's linear map."""
        moment, tokens, group = _no_moment(layer), 0, expert_group(layer)
        for other in self._layers:
            leader = self._leaders.get(other.name, other.name)
            if expert_group(other) == group and leader in self._sums:
                moment += self._sums[leader]
                tokens += self._tokens[leader]
        return moment / max(1, tokens)


def _no_moment(layer: PrunableLayer) -> Tensor:
    width = layer.module.in_features
    return torch.zeros(width, width, device=layer.module.weight.device)
