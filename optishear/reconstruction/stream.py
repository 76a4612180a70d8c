"""Calibration tokens on their way through the decoder, block by block, so that one block is in work at a time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.models.features import backbone
from optishear.training.schedule import held_out

# Tokens of one forward pass of a block: enough for large products, few enough for small activations.
TOKENS_PER_BATCH = 2048


@dataclass(frozen=True)
class BlockCall:
    """What the model passes to a block beside the hidden states: masks, positions, rotary embeddings.

    Without padding, these are the same for all batches of one shape; ``check_calls`` says whether they are.
    """

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def run(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """The block's output hidden states [batch, length, width] for the given input of the same shape."""
        output = block(hidden, *self.arguments, **self.keywords)
        result: Tensor = output[0] if isinstance(output, tuple) else output
        return result


class _Arrived(Exception):
    """The first block's input is known; the rest of the pass is not needed."""


@torch.no_grad()
def block_calls(model: PreTrainedModel, blocks: nn.ModuleList, batch: Tensor) -> list[BlockCall]:
    """How the model calls each of its blocks, seen in one forward pass over a batch [sequences, length]."""
    calls: dict[int, BlockCall] = {}

    def watch(index: int) -> Any:
        def hook(_block: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            _, rest, named = _hidden_apart(arguments, keywords)
            calls[index] = BlockCall(rest, named)

        return hook

    handles = [block.register_forward_pre_hook(watch(index), with_kwargs=True) for index, block in enumerate(blocks)]
    try:
        backbone(model)(batch.to(model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return [calls[index] for index in range(len(blocks))]


def check_calls(model: PreTrainedModel, blocks: nn.ModuleList, tokens: Tensor) -> None:
    """Refuse a model that gives its blocks something of the tokens beside the hidden states.

    Args:
        model: the model.
        blocks: its blocks.
        tokens: [sequences, length] of any text; eight of them are enough to see it.

    Raises:
        InputError: if a block's other arguments change with the tokens.
    """
    first = tokens[:1, :8]
    other = (first + 1) % model.config.get_text_config().vocab_size
    for one, two in zip(block_calls(model, blocks, first), block_calls(model, blocks, other), strict=True):
        if not _equal((one.arguments, one.keywords), (two.arguments, two.keywords)):
            raise InputError(
                f"Models of the type {model.config.model_type!r} give their blocks more of the tokens than hidden "
                "states, so they cannot be reconstructed block by block; set reconstruction to none and tuning_steps "
                "to 0."
            )


def _equal(one: Any, two: Any) -> bool:
    """Whether all tensors inside two values are equal."""
    if isinstance(one, Tensor):
        return isinstance(two, Tensor) and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_equal(value, two[name]) for name, value in one.items())
    if isinstance(one, tuple | list):
        return len(one) == len(two) and all(_equal(*pair) for pair in zip(one, two, strict=True))
    return True


@torch.no_grad()
def first_inputs(model: PreTrainedModel, blocks: nn.ModuleList, batches: list[Tensor]) -> list[Tensor]:
    """The hidden states that enter the first block: for each batch [sequences, length] one tensor [..., width]."""
    arrived: list[Tensor] = []

    def hook(_block: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        arrived.append(_hidden_apart(arguments, keywords)[0].detach())
        raise _Arrived

    handle = blocks[0].register_forward_pre_hook(hook, with_kwargs=True)
    try:
        for batch in batches:
            try:
                backbone(model)(batch.to(model.device), use_cache=False)
            except _Arrived:
                continue
    finally:
        handle.remove()
    return arrived


def equal_batches(tokens: Tensor, most_tokens: int = TOKENS_PER_BATCH) -> list[Tensor]:
    """Cut sequences [sequences, length] into batches of one size.

    Each has at most ``most_tokens`` tokens and no more sequences than are held out of training, so that one batch is.
    """
    sequences, length = tokens.shape
    largest = max(1, min(held_out(sequences), most_tokens // length))
    size = max(divisor for divisor in range(1, largest + 1) if sequences % divisor == 0)
    return list(tokens.split(size))


def _hidden_apart(
    arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Tensor, tuple[Any, ...], dict[str, Any]]:
    """The hidden states, by position or by name, and the other arguments of a block."""
    if arguments:
        return arguments[0], arguments[1:], dict(keywords)
    rest = dict(keywords)
    return rest.pop("hidden_states"), (), rest
