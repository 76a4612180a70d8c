"""Documents → token blocks, drawn over the documents: random pieces of long ones, short ones packed end to end.

A long document gives one random piece until the documents are exhausted, as in the papers (SparseGPT, arXiv 2301.00774;
Wanda, arXiv 2306.11695), so that one long document does not become the whole calibration set.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from random import Random

import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from optishear.calibration.calibration_set import CalibrationSet
from optishear.calibration.opening import opening_tokens
from optishear.errors import InputError
from optishear.parameters.bos import Bos

# More characters than a token has in common text, so that one pass over a part of a document mostly suffices.
_CHARACTERS_PER_TOKEN = 8
# How far from a random place in a text the next word is looked for, in characters.
_LONGEST_WORD = 100
_SPACE = re.compile(r"\s")


def draw_blocks(
    documents: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    sequences: int,
    sequence_length: int,
    source: str,
    *,
    seed: int = 0,
    bos: Bos = "each-window",
) -> CalibrationSet:
    """Draw ``sequences`` blocks of ``sequence_length`` tokens from documents in the order given.

    A document that is at least as long as a block gives one random piece; shorter ones are packed end to end, with the
    end-of-sequence token between two, if the tokenizer has one. After the last document come further pieces of the
    long documents, in turn, which do not overlap; then what is left of them, packed. Reads no more documents, and no
    more of a long one, than the blocks need.

    Args:
        documents: texts.
        tokenizer: of the model.
        sequences: number of blocks.
        sequence_length: tokens of a block, BOS included.
        source: name of the source.
        seed: of the places of the pieces.
        bos: ``each-window``: each block begins with the tokens that the tokenizer puts before a text;
            ``text-start``: each document does.

    Raises:
        InputError: if the text is too short, with the number of tokens found and needed.
    """
    opening = opening_tokens(tokenizer)
    before_block, before_text = (opening, []) if bos == "each-window" else ([], opening)
    separator = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    block_set = _BlockSet(sequences, sequence_length - len(before_block), separator)
    chance = Random(seed)
    with tqdm(total=sequences, unit="sequence", desc="calibration text") as progress:
        for number, document in enumerate(documents):
            tokens = some_tokens(tokenizer, document, block_set.missing * block_set.length, chance, before_text)
            block_set.add(number, tokens, chance)
            progress.update(len(block_set.blocks) - progress.n)
            if not block_set.missing:
                break
        block_set.add_further_pieces()
        progress.update(len(block_set.blocks) - progress.n)
    if block_set.missing:
        raise InputError(
            f"The calibration text {source!r} has only {block_set.tokens} tokens, and {sequences} sequences of "
            f"{sequence_length} need {sequences * block_set.length}; give more text, or ask for fewer or shorter "
            "sequences."
        )
    return CalibrationSet(
        torch.tensor([before_block + block.tokens for block in block_set.blocks]),
        source,
        documents=len(frozenset().union(*(block.documents for block in block_set.blocks))),
        bos=bos if opening else None,
    )


@dataclass(frozen=True)
class _Block:
    """The tokens of a block, and the numbers of the documents that they are from."""

    tokens: list[int]
    documents: frozenset[int]


@dataclass
class _BlockSet:
    """The blocks so far, and what further ones can be made of.

    Attributes:
        count: number of blocks.
        length: tokens of the text in a block.
        separator: tokens between two packed texts.
        blocks: at most ``count``.
        tokens: of all texts that were given, separators included.
    """

    count: int
    length: int
    separator: list[int]
    blocks: list[_Block] = field(default_factory=list)
    tokens: int = 0
    _further: list[list[_Block]] = field(default_factory=list)
    _rests: list[tuple[int, list[int]]] = field(default_factory=list)
    # Each packed token with the number of its document.
    _packed: list[tuple[int, int]] = field(default_factory=list)

    @property
    def missing(self) -> int:
        return self.count - len(self.blocks)

    def add(self, number: int, tokens: list[int], chance: Random) -> None:
        """A document: a random piece of a long one; a short one is packed."""
        if len(tokens) < self.length:
            self._pack(number, tokens)
            return
        self.tokens += len(tokens)
        # A grid at a random place, so that further pieces do not overlap and no text is lost between them.
        count, spare = divmod(len(tokens), self.length)
        start = chance.randint(0, spare)
        end = start + count * self.length
        starts = range(start, end, self.length)
        pieces = [_Block(tokens[at : at + self.length], frozenset([number])) for at in starts]
        chance.shuffle(pieces)
        self.blocks.append(pieces[0])
        self._further.append(pieces[1:])
        self._rests += [(number, rest) for rest in (tokens[:start], tokens[end:]) if rest]

    def add_further_pieces(self) -> None:
        """More pieces of the long documents, in turn; then what lies before and after their pieces, packed."""
        for turn in zip_longest(*self._further):
            self.blocks += [piece for piece in turn if piece is not None][: self.missing]
        if self.missing:
            before = self.tokens
            for number, rest in self._rests:
                self._pack(number, rest)
            # They were counted with their documents.
            self.tokens = before

    def _pack(self, number: int, tokens: list[int]) -> None:
        added = [*(self.separator if self._packed else []), *tokens]
        self.tokens += len(added)
        self._packed += [(token, number) for token in added]
        while self.missing and len(self._packed) >= self.length:
            block, self._packed = self._packed[: self.length], self._packed[self.length :]
            self.blocks.append(_Block([token for token, _ in block], frozenset(number for _, number in block)))


def some_tokens(
    tokenizer: PreTrainedTokenizerBase, text: str, enough: int, chance: Random, before_text: list[int] | None = None
) -> list[int]:
    """The tokens of ``text`` without special tokens: all, or ``enough`` of them from a random place in a long text.

    Args:
        tokenizer: of the model.
        text: any.
        enough: number of tokens that suffice.
        chance: decides the place.
        before_text: tokens put before the start of the text.
    """
    length, place = _CHARACTERS_PER_TOKEN * enough, chance.random()
    while True:
        start = _start_of_word(text, int(place * max(0, len(text) - length)))
        tokens: list[int] = tokenizer(text[start : start + length], add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        whole = start + length >= len(text)
        if not whole:
            tokens = tokens[:-1]  # the last may be a part of a word
        if len(tokens) >= enough or (whole and start == 0):
            return tokens if start else [*(before_text or []), *tokens]
        length *= 2


def _start_of_word(text: str, place: int) -> int:
    """The next white space, which belongs to the word after it; the place itself where there is none near."""
    space = _SPACE.search(text, place, place + _LONGEST_WORD) if place else None
    return space.start() if space else place
