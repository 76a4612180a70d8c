"""Calibration tokens on their way through the decoder, block by block, so that one block is in work at a time."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from optishear.batch_size import BatchSize
from optishear.errors import InputError
from optishear.models.features import backbone
from optishear.training.schedule import held_out

# Tokens of one forward pass of a block: enough for large products, few enough for small activations.
TOKENS_PER_BATCH = 2048


@dataclass(frozen=True)
class BlockCall:
    """What the model passes to a block beside the hidden states: masks, positions, rotary embeddings.

    Without padding, these are the same for all batches of one shape; ``check_calls`` says whether they are.

    Attributes:
        arguments: by position.
        keywords: by name.
        sequences: in the batch that it was seen with; a batch of several times as many is run in such parts.
    """

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    sequences: int = 1

    def run(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """The block's output hidden states [batch, length, width] for the given input of the same shape."""
        outputs = [block(part, *self.arguments, **self.keywords) for part in hidden.split(self.sequences)]
        results = [output[0] if isinstance(output, tuple) else output for output in outputs]
        return results[0] if len(results) == 1 else torch.cat(results)


class BlockCalls:
    """How the model calls its blocks, with whole batches or with parts of them.

    Attributes:
        sequences: sequences of a part, the whole batch to begin with. Work that passes it to ``of`` is done in its
            ``run``, and repeated in smaller parts where memory runs out.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        blocks: nn.ModuleList,
        batch: Tensor,
        running: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """See how the model calls its blocks with a batch.

        Args:
            model: the model.
            blocks: its blocks.
            batch: [sequences, length]; all batches have this shape.
            running: a context in which the model can run.

        Raises:
            DoesNotFit: if the memory is too small for one sequence.
        """
        self._model, self._blocks, self._batch, self._running = model, blocks, batch, running
        self._calls: dict[int, list[BlockCall]] = {}
        self.sequences = BatchSize(len(batch), of="pass of a block")
        self.sequences.run(lambda size: self.of(0, size))

    def of(self, index: int, size: int) -> BlockCall:
        """The call of a block with batches in equal parts of at most ``size`` sequences.

        Where such parts are new, the model is run on one.
        """
        sequences = _largest_divisor(len(self._batch), size)
        if sequences not in self._calls:
            with self._running():
                self._calls[sequences] = block_calls(self._model, self._blocks, self._batch[:sequences])
        return self._calls[sequences][index]


class _Arrived(Exception):
    """The first block's input is known; the rest of the pass is not needed."""


@torch.no_grad()
def block_calls(model: PreTrainedModel, blocks: nn.ModuleList, batch: Tensor) -> list[BlockCall]:
    """How the model calls each of its blocks, seen in one forward pass over a batch [sequences, length]."""
    calls: dict[int, BlockCall] = {}

    def watch(index: int) -> Any:
        def hook(_block: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            _, rest, named = _hidden_apart(arguments, keywords)
            calls[index] = BlockCall(rest, named, len(batch))

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
    return list(tokens.split(_largest_divisor(sequences, largest)))


def _largest_divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most ``most``."""
    return max(divisor for divisor in range(1, most + 1) if number % divisor == 0)


def _hidden_apart(
    arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Tensor, tuple[Any, ...], dict[str, Any]]:
    """The hidden states, by position or by name, and the other arguments of a block."""
    if arguments:
        return arguments[0], arguments[1:], dict(keywords)
    rest = dict(keywords)
    return rest.pop("hidden_states"), (), rest
