"""One text source as an endless stream of token sequences, after a part that is held out."""

import hashlib
import logging
from collections.abc import Iterator
from itertools import chain, islice

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.opening import opening_tokens
from optishear.calibration.self_generated import TEXTS_PER_BATCH, generate
from optishear.calibration.text import read_documents, shuffled
from optishear.errors import InputError
from optishear.models.token_ids import check_token_ids
from optishear.parameters.bos import Bos

# Longer documents are cut into passages of so many characters for each token of a block, so that texts mix and a part
# of one can be held out. A passage is then about a block.
CHARACTERS_PER_TOKEN = 4
# Seeds of the batches of a model's own text, far from those of its calibration.
_SEEDS_APART = 1_000_003
logger = logging.getLogger(__name__)


class Position(BaseModel):
    """A place in a stream.

    Attributes:
        epoch: number of times that the source was read before, or of batches that the model wrote.
        used: passages, or sequences of a batch, that were used since.
        rest: tokens that were read and not given yet.
    """

    model_config = ConfigDict(frozen=True)

    epoch: int = 0
    used: int = 0
    rest: tuple[int, ...] = ()


class TextStream:
    """Sequences of a text, packed end to end; when it is used up it is read again in another order.

    Passages that are held out are never among them, nor are copies of those.

    Attributes:
        held_out: [blocks, length] int64.
    """

    def __init__(
        self,
        source: str,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        length: int,
        held_out: int,
        *,
        seed: int,
        bos: Bos,
    ) -> None:
        """Read what is held out.

        Args:
            source: of ``read_documents``.
            tokenizer: of the model.
            model: to check the tokens with.
            length: tokens of a block that is held out, and of the longest sequence, BOS included.
            held_out: number of blocks to hold out.
            seed: of the order.
            bos: as for ``draw_blocks``.

        Raises:
            InputError: if the text cannot be read, is shorter than twice what is held out, or has tokens that the
                model has no embedding for.
        """
        self._source, self._tokenizer, self._model, self._seed = source, tokenizer, model, seed
        opening = opening_tokens(tokenizer)
        self._before_block, self._before_text = (opening, []) if bos == "each-window" else ([], opening)
        self._after_text = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        self._characters = CHARACTERS_PER_TOKEN * length
        self._held_out_passages: set[bytes] = set()
        self._epoch, self._used = 0, 0
        self._rest: list[int] = []
        self._passages = self._open()
        needed = held_out * self._text_tokens(length)
        while len(self._rest) < needed:
            self._held_out_passages.add(_digest(self._read(needed)))
        self.held_out = self._packed(held_out, length)
        # What is left of the last passage belongs to the part that is held out.
        self._used, self._rest = 0, []
        while len(self._rest) < needed:
            self._read(needed)

    @property
    def position(self) -> Position:
        """The place of the next sequence."""
        return Position(epoch=self._epoch, used=self._used, rest=tuple(self._rest))

    def go_to(self, position: Position) -> None:
        """Go on from a place; the passages before it are read, not tokenized."""
        self._epoch, self._used, self._rest = position.epoch, position.used, list(position.rest)
        self._passages = islice(self._open(), position.used, None)

    def take(self, count: int, length: int) -> Tensor:
        """The next sequences, [count, length] int64."""
        while len(self._rest) < count * self._text_tokens(length):
            self._read()
        sequences = self._packed(count, length)
        check_token_ids(self._model, sequences, self._tokenizer)
        return sequences

    def _open(self) -> Iterator[str]:
        """The passages of the present epoch."""
        seed = self._seed + self._epoch
        documents = read_documents(self._source, seed=seed)
        passages = shuffled(chain.from_iterable(cut(document, self._characters) for document in documents), seed)
        return (passage for passage in passages if _digest(passage) not in self._held_out_passages)

    def _read(self, needed: int | None = None) -> str:
        """Tokenize the next passage; the text's end is an error as long as so many tokens are needed."""
        passage = next(self._passages, None)
        if passage is None:
            if needed is not None:
                raise InputError(
                    f"The recovery text {self._source!r} is too short: {2 * needed} tokens are the least, half of them "
                    "to be held out; give more text, or several."
                )
            if self._epoch == 0:
                logger.warning(
                    "The recovery text %r is used up; it is read again in another order. More text would help more.",
                    self._source,
                )
            self._epoch, self._used = self._epoch + 1, 0
            self._passages = self._open()
            return self._read()
        self._used += 1
        tokens = self._tokenizer(passage, add_special_tokens=False, verbose=False)["input_ids"]
        self._rest += [*self._before_text, *tokens, *self._after_text]
        return passage

    def _text_tokens(self, length: int) -> int:
        """Tokens of text in a sequence, beside what is put before it."""
        return length - len(self._before_block)

    def _packed(self, count: int, length: int) -> Tensor:
        size = self._text_tokens(length)
        rows = [self._before_block + self._rest[at * size : (at + 1) * size] for at in range(count)]
        self._rest = self._rest[count * size :]
        return torch.tensor(rows)


class OwnText:
    """Sequences that the dense model writes as they are needed; the same interface as ``TextStream``.

    It writes whole blocks; shorter sequences are their parts.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, length: int, held_out: int, *, seed: int
    ) -> None:
        """Let the model write what is held out.

        Raises:
            InputError: as ``generate``.
        """
        self._model, self._tokenizer, self._length, self._seed = model, tokenizer, length, seed
        self.held_out = generate(model, tokenizer, held_out, length, seed * _SEEDS_APART).tokens
        self._position = Position()
        self._batch: Tensor | None = None

    @property
    def position(self) -> Position:
        """The place of the next sequence."""
        return self._position

    def go_to(self, position: Position) -> None:
        """Go on from a place; the model writes its batch again."""
        self._position, self._batch = position, None

    def take(self, count: int, length: int) -> Tensor:
        """The next sequences, [count, length] int64."""
        sequences = []
        for _ in range(count):
            if self._batch is None:
                seed = self._seed * _SEEDS_APART + 1 + self._position.epoch
                written = generate(self._model, self._tokenizer, TEXTS_PER_BATCH, self._length, seed).tokens
                self._batch = written[:, : self._length - self._length % length].reshape(-1, length)
            epoch, used = self._position.epoch, self._position.used
            sequences.append(self._batch[used])
            if used + 1 < len(self._batch):
                self._position = Position(epoch=epoch, used=used + 1)
            else:
                self._position, self._batch = Position(epoch=epoch + 1), None
        return torch.stack(sequences)


def cut(document: str, characters: int) -> Iterator[str]:
    """A document in passages of at most so many characters, cut at white space where there is any.

    Joined, they are the document.
    """
    start = 0
    while len(document) - start > characters:
        end = start + characters
        space = max(document.rfind(" ", start, end), document.rfind("\n", start, end))
        end = space if space > start else end
        yield document[start:end]
        start = end
    yield document[start:]


def _digest(passage: str) -> bytes:
    return hashlib.sha256(passage.encode("utf-8", "surrogatepass")).digest()
