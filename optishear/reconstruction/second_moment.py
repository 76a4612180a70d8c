"""Second moments of layer inputs: H = X^T X / tokens, once for all layers that read the same input."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from optishear.models.layers import PrunableLayer


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
        handles = [layer.module.register_forward_pre_hook(self._hook(layer.name)) for layer in self._layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._last = None

    def _hook(self, name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            read = inputs[0]
            if name not in self._leaders:
                # Layers that share an input read it one after another, as the very same tensor.
                shares = self._last is not None and self._last[0] is read
                self._leaders[name] = self._last[1] if shares and self._last else name
            leader = self._leaders[name]
            if leader == name:
                self._add(name, read.detach())
            self._last = (read, leader)

        return hook

    def _add(self, name: str, read: Tensor) -> None:
        rows = read.flatten(0, -2).float()
        if name not in self._sums:
            self._sums[name] = rows.new_zeros(rows.shape[1], rows.shape[1])
            self._tokens[name] = 0
        self._sums[name].addmm_(rows.T, rows)
        self._tokens[name] += len(rows)

    def groups(self) -> list[tuple[Tensor, list[PrunableLayer]]]:
        """For each distinct input its second moment [in, in] float32 and the layers that read it.

        A layer that never ran, such as an expert that no token chose, has a second moment of zeros.
        """
        groups: dict[str, list[PrunableLayer]] = {}
        for layer in self._layers:
            groups.setdefault(self._leaders.get(layer.name, layer.name), []).append(layer)
        return [(self._moment(leader, layers[0].module), layers) for leader, layers in groups.items()]

    def _moment(self, leader: str, module: nn.Linear) -> Tensor:
        if leader not in self._sums:
            return torch.zeros(module.in_features, module.in_features, device=module.weight.device)
        return self._sums[leader] / self._tokens[leader]
