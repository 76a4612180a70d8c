"""Greedy decoding, token by token, with the time of each token."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel


@dataclass(frozen=True)
class Decoded:
    """A decoded text with its times.

    Attributes:
        tokens: the new tokens, up to and with the first that ends the text.
        seconds: time per token; the first includes the pass over the prompt.
    """

    tokens: list[int]
    seconds: list[float]

    @property
    def tokens_per_second(self) -> float:
        """From the median time of a token, without the first if there are more."""
        times = sorted(self.seconds[1:] or self.seconds)
        return 1 / times[len(times) // 2]


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    prompt: Tensor,
    count: int,
    *,
    ends: frozenset[int] = frozenset(),
    seconds: float = float("inf"),
) -> Decoded:
    """Decode greedily.

    Args:
        model: a causal language model.
        prompt: [1, tokens] int64, on the model's device.
        count: largest number of tokens.
        ends: tokens that end the text.
        seconds: time limit for the start of a token.
    """
    new_tokens: list[int] = []
    times: list[float] = []
    tokens, past = prompt, None
    while len(new_tokens) < count and sum(times) < seconds and not (new_tokens and new_tokens[-1] in ends):
        started = time.perf_counter()
        output = model(input_ids=tokens, past_key_values=past, use_cache=True)
        tokens, past = output.logits[:, -1:].argmax(dim=-1), output.past_key_values
        new_tokens.append(int(tokens))
        times.append(time.perf_counter() - started)
    return Decoded(new_tokens, times)
