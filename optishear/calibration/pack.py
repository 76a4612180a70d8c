"""Documents → token blocks: short documents are packed end to end, long ones are cut."""

from collections.abc import Iterable

import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from optishear.calibration.calibration_set import CalibrationSet
from optishear.errors import InputError

# More characters than a token has in common text, so that one pass over the start of a document mostly suffices.
_CHARACTERS_PER_TOKEN = 8


def pack(
    documents: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    sequences: int,
    sequence_length: int,
    source: str,
) -> CalibrationSet:
    """Cut documents into ``sequences`` blocks of ``sequence_length`` tokens, in the order given.

    No special tokens but the end-of-sequence token between two documents, if the tokenizer has one. Reads
    no more documents, and no more of a long one, than the blocks need.

    Raises:
        InputError: if the text is too short, with the number of tokens found and needed.
    """
    needed = sequences * sequence_length
    separator = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    tokens: list[int] = []
    with tqdm(total=needed, unit="token", desc="calibration text") as progress:
        for document in documents:
            tokens += (separator if tokens else []) + first_tokens(tokenizer, document, needed - len(tokens))
            progress.update(min(len(tokens), needed) - progress.n)
            if len(tokens) >= needed:
                break
    if len(tokens) < needed:
        raise InputError(
            f"The calibration text {source!r} has only {len(tokens)} tokens, and {sequences} sequences of "
            f"{sequence_length} need {needed}; give more text, or ask for fewer or shorter sequences."
        )
    return CalibrationSet(torch.tensor(tokens[:needed]).reshape(sequences, sequence_length), source)


def first_tokens(tokenizer: PreTrainedTokenizerBase, text: str, enough: int) -> list[int]:
    """The tokens of ``text`` without special tokens: all, or those of its start if it has more than ``enough``."""
    length = _CHARACTERS_PER_TOKEN * enough
    while True:
        tokens: list[int] = tokenizer(text[:length], add_special_tokens=False, verbose=False)["input_ids"]
        if len(tokens) > enough or length >= len(text):
            return tokens
        length *= 2
