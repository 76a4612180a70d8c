"""Tokenizers as llama.cpp has them."""

import pytest
from gguf import TokenType
from transformers import PreTrainedTokenizerFast

from optishear.serving.gguf_tokenizer import read_tokenizer
from served_models import ROWS, byte_level_tokenizer, characters_tokenizer
from wording import refused

# As in the tokenizer.json of each.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
    r"|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Of Mistral Nemo.
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}"
    r"\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize(
    ("splits", "pre"),
    [("digits", "smollm"), ("gpt2", "gpt-2"), (QWEN2, "qwen2"), (LLAMA3, "smaug-bpe")],
)
def test_the_name_is_that_of_what_splits(splits: str, pre: str) -> None:
    assert read_tokenizer(byte_level_tokenizer(splits), ROWS).pre == pre


@pytest.mark.parametrize(("splits", "pre"), [(LLAMA3, "llama-bpe"), (TEKKEN, "tekken")])
def test_words_that_are_looked_up_whole_have_other_names(splits: str, pre: str) -> None:
    tokenizer = byte_level_tokenizer(splits)
    tokenizer.backend_tokenizer.model.ignore_merges = True
    assert read_tokenizer(tokenizer, ROWS).pre == pre


def test_another_way_to_split_is_refused() -> None:
    with refused("[a-z]+", "dense"):
        read_tokenizer(byte_level_tokenizer("[a-z]+"), ROWS)


def test_bytes_have_merges_in_their_order() -> None:
    read = read_tokenizer(byte_level_tokenizer(), ROWS)
    assert (read.model, read.scores, read.space_prefix) == ("gpt2", [], False)
    assert read.merges[:2] == ["t h", "th e"]
    assert read.adds == {"bos": False, "eos": False}
    assert read.special == {"bos": 1, "eos": 2, "unk": 0}
    assert read.types[:3] == [TokenType.CONTROL] * 3
    assert read.types[3] == TokenType.NORMAL
    assert len(read.tokens) == len(read.types) == ROWS
    assert read.tokens[-1] == f"[PAD{ROWS - 1}]"
    assert read.types[-1] == TokenType.UNUSED


def test_characters_have_scores_that_fall_with_the_merges() -> None:
    tokenizer = characters_tokenizer()
    read = read_tokenizer(tokenizer, ROWS)
    assert (read.model, read.merges, read.adds) == ("llama", [], {"bos": True, "eos": False})
    scores = [read.scores[tokenizer.convert_tokens_to_ids(token)] for token in ("th", "the", "▁the", "▁a", "an")]
    assert scores == [-1, -2, -3, -4, -5]
    assert read.scores[tokenizer.convert_tokens_to_ids("t")] < -1000
    assert read.types[tokenizer.convert_tokens_to_ids("<0x41>")] == TokenType.BYTE
    assert read.types[tokenizer.convert_tokens_to_ids("<unk>")] == TokenType.UNKNOWN


def test_added_tokens_are_the_users() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["<think>"])
    number = tokenizer.convert_tokens_to_ids("<think>")
    read = read_tokenizer(tokenizer, ROWS)
    assert (read.tokens[number], read.types[number]) == ("<think>", TokenType.USER_DEFINED)


def test_a_token_without_a_row_is_refused() -> None:
    with refused(100):
        read_tokenizer(byte_level_tokenizer(), 100)


def test_a_tokenizer_of_another_kind_is_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with refused("bytes", "dense"):
        read_tokenizer(tiny_tokenizer, ROWS)
