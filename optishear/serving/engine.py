"""What every engine that runs an export can do, and transformers as one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import transformers
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.inference.decode import decode
from optishear.inference.footprint import memory_bytes

# Tokens that are given one by one when outputs are compared.
_ALONE = 16


def in_parts(tokens: Sequence[int]) -> list[Sequence[int]]:
    """All tokens but the last 16 at once, at least one, and each of those alone."""
    first = max(len(tokens) - _ALONE, 1)
    return [tokens[:first], *([token] for token in tokens[first:])]


class Engine(Protocol):
    """A loaded model in an engine.

    Attributes:
        name: of the engine, with its version and how it computes.
        memory_bytes: of the weights in memory.
        sparse_layers: names of the layers that the engine runs without their zeros.
    """

    @property
    def name(self) -> str:
        """Of the engine."""

    @property
    def memory_bytes(self) -> int:
        """Of the weights."""

    @property
    def sparse_layers(self) -> tuple[str, ...]:
        """Names of layers."""

    def logits(self, tokens: Sequence[int]) -> Tensor:
        """The logits after each token, [tokens, vocabulary] float32 on the CPU.

        The last tokens are given one by one, since engines have other kernels for a single token.
        """

    def prompt_seconds(self, tokens: Sequence[int]) -> float:
        """Time of one pass over all tokens."""

    def decode_seconds(self, prompt: Sequence[int], count: int) -> float:
        """Median time of a token, decoded one after the other greedily."""


@dataclass(frozen=True)
class TransformersEngine:
    """A model in transformers, with layers of any kind."""

    model: PreTrainedModel
    sparse_layers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """With the library's version and the dtype."""
        kind = "packed layers" if self.sparse_layers else "dense"
        return f"transformers {transformers.__version__}, {kind}, {str(self.model.dtype).removeprefix('torch.')}"

    @property
    def memory_bytes(self) -> int:
        """Of weights and buffers; tied ones count once."""
        return memory_bytes(self.model)

    @torch.no_grad()
    def logits(self, tokens: Sequence[int]) -> Tensor:
        """As of every engine."""
        parts, past = [], None
        for part in in_parts(tokens):
            output = self.model(input_ids=self._batch(part), past_key_values=past, use_cache=True)
            past = output.past_key_values
            parts.append(output.logits[0].float().cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def prompt_seconds(self, tokens: Sequence[int]) -> float:
        """As of every engine."""
        batch = self._batch(tokens)
        started = time.perf_counter()
        output = self.model(input_ids=batch, use_cache=True, logits_to_keep=1)
        float(output.logits[0, -1, 0])  # a GPU answers when it is done
        return time.perf_counter() - started

    def decode_seconds(self, prompt: Sequence[int], count: int) -> float:
        """As of every engine."""
        return 1 / decode(self.model, self._batch(prompt), count + 1).tokens_per_second

    def _batch(self, tokens: Sequence[int]) -> Tensor:
        return torch.tensor([list(tokens)], device=self.model.device)
