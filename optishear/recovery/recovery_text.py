"""The text of a recovery: sequences of one or several sources, in turn."""

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
        held_out: [blocks, length] int64; its text is never among the sequences.
    """

    held_out: Tensor

    @property
    def positions(self) -> tuple[Position, ...]:
        """The place of the next sequence in each source."""

    def go_to(self, positions: Sequence[Position], sequences: int) -> None:
        """Go on from the places of the sources, after so many sequences."""

    def take(self, count: int, length: int) -> Tensor:
        """The next sequences, [count, length] int64; every call asks for the same length."""


class RecoveryText:
    """Sequences of several sources, one after the other in turn.

    Attributes:
        held_out: [blocks, length] int64, as many of each source as can be; its text is never among the sequences.
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
            length: tokens of a block that is held out, and of the longest sequence.
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
        """The place of the next sequence in each source."""
        return tuple(stream.position for stream in self._streams)

    def go_to(self, positions: Sequence[Position], sequences: int) -> None:
        """Go on from the places of the sources, after so many sequences."""
        self._next = sequences % len(self._streams)
        for stream, position in zip(self._streams, positions, strict=True):
            stream.go_to(position)

    def take(self, count: int, length: int) -> Tensor:
        """The next sequences, [count, length] int64; every call asks for the same length."""
        sequences = []
        for _ in range(count):
            sequences.append(self._streams[self._next].take(1, length))
            self._next = (self._next + 1) % len(self._streams)
        return torch.cat(sequences)
