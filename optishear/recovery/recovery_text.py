"""The text of a recovery: blocks of one or several sources, in turn."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibrate import SELF, check_context
from optishear.parameters.bos import Bos
from optishear.recovery.text_stream import OwnText, Position, TextStream

# Blocks that are held out: enough to tell a hundredth of a nat, few enough for a check in a few seconds.
HELD_OUT = 16


class Blocks(Protocol):
    """What a recovery is trained on.

    Attributes:
        held_out: [blocks, length] int64, never among the others.
    """

    held_out: Tensor

    @property
    def positions(self) -> tuple[Position, ...]:
        """The place of the next block in each source."""

    def go_to(self, positions: Sequence[Position], blocks: int) -> None:
        """Go on from the places of the sources, after so many blocks."""

    def take(self, count: int) -> Tensor:
        """The next blocks, [count, length] int64."""


class RecoveryText:
    """Blocks of several sources, one after the other in turn.

    Attributes:
        held_out: [blocks, length] int64, as many of each source as can be; never among the others.
    """

    def __init__(
        self,
        sources: Sequence[str],
        dense: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        held_out: int,
        *,
        seed: int,
        bos: Bos,
    ) -> None:
        """Open the sources.

        Args:
            sources: each ``self`` or one of ``read_documents``.
            dense: the dense model, which writes the text of ``self``.
            tokenizer: its tokenizer.
            length: tokens of a block.
            held_out: number of blocks to hold out, of all sources together.
            seed: of the order of the text.
            bos: where the tokenizer's BOS goes.

        Raises:
            InputError: if a text cannot be read or is too short, or the blocks are longer than the model's context.
        """
        check_context(dense, "sequence_length", length)
        counts = [len(range(number, held_out, len(sources))) for number in range(len(sources))]
        self._streams = [
            OwnText(dense, tokenizer, length, count, seed=seed)
            if source == SELF
            else TextStream(source, tokenizer, dense, length, count, seed=seed, bos=bos)
            for source, count in zip(sources, counts, strict=True)
        ]
        self.held_out = torch.cat([stream.held_out for stream in self._streams if len(stream.held_out)])
        self._next = 0

    @property
    def positions(self) -> tuple[Position, ...]:
        """The place of the next block in each source."""
        return tuple(stream.position for stream in self._streams)

    def go_to(self, positions: Sequence[Position], blocks: int) -> None:
        """Go on from the places of the sources, after so many blocks."""
        self._next = blocks % len(self._streams)
        for stream, position in zip(self._streams, positions, strict=True):
            stream.go_to(position)

    def take(self, count: int) -> Tensor:
        """The next blocks, [count, length] int64."""
        blocks = []
        for _ in range(count):
            blocks.append(self._streams[self._next].take(1))
            self._next = (self._next + 1) % len(self._streams)
        return torch.cat(blocks)
