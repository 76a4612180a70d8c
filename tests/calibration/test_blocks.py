import itertools
from collections.abc import Iterator
from random import Random

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from optishear.calibration.blocks import draw_blocks, some_tokens
from optishear.calibration.calibrate import describe
from optishear.calibration.calibration_set import CalibrationSet
from wording import refused

TEXT = "then he was here and there, in his heart, on and on; " * 200


@pytest.fixture
def plain_tokenizer(tiny_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer that puts nothing before a text."""
    tiny_tokenizer.backend_tokenizer.post_processor = None
    return tiny_tokenizer


def plain_tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def long_documents(count: int, characters: int = 400) -> list[str]:
    """Documents of one letter each, so that a block shows where it is from: ``aaa…``, ``bbb…``."""
    return [chr(ord("a") + number) * characters for number in range(count)]


def letters(tokenizer: PreTrainedTokenizerFast, blocks: CalibrationSet) -> list[str]:
    """For each block the documents of ``long_documents`` that it is from."""
    return ["".join(sorted(set(tokenizer.decode(row, skip_special_tokens=True)))) for row in blocks.tokens]


def test_short_documents_are_packed_end_to_end_with_a_separator(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    packed = draw_blocks(["xyz", "qz", "uvw"], plain_tokenizer, 2, 4, "somewhere")
    x, y, z, q, u = plain_tokenizer.convert_tokens_to_ids(list("xyzqu"))
    eos = plain_tokenizer.eos_token_id
    assert packed.tokens.tolist() == [[x, y, z, eos], [q, z, eos, u]]
    assert packed.tokens.dtype == torch.int64
    assert (packed.source, packed.documents, packed.bos) == ("somewhere", 3, None)


def test_a_tokenizer_without_end_of_sequence_puts_nothing_between(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    plain_tokenizer.eos_token = None
    packed = draw_blocks(["xy", "z"], plain_tokenizer, 1, 3, "somewhere")
    assert plain_tokenizer.decode(packed.tokens[0]) == "xyz"


def test_each_block_begins_with_bos_where_the_tokenizer_adds_one(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    blocks = draw_blocks(["xyz", "qz", TEXT], tiny_tokenizer, 6, 4, "somewhere")
    bos, eos = tiny_tokenizer.bos_token_id, tiny_tokenizer.eos_token_id
    x, y, z = tiny_tokenizer.convert_tokens_to_ids(list("xyz"))
    assert blocks.tokens[0].tolist() == [bos, x, y, z]
    assert blocks.tokens[:, 0].tolist() == [bos] * 6
    assert not (blocks.tokens[:, 1:] == bos).any()
    assert not (blocks.tokens[:, 1:] == eos).any()
    assert blocks.bos == "each-window"


def test_with_text_start_only_documents_begin_with_bos(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    blocks = draw_blocks(["xy", "qz"], tiny_tokenizer, 1, 7, "somewhere", bos="text-start")
    bos, eos = tiny_tokenizer.bos_token_id, tiny_tokenizer.eos_token_id
    x, y, q, z = tiny_tokenizer.convert_tokens_to_ids(list("xyqz"))
    assert blocks.tokens.tolist() == [[bos, x, y, eos, bos, q, z]]
    assert blocks.bos == "text-start"


def test_one_long_document_gives_all_its_pieces_in_a_drawn_order(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = plain_tokens(plain_tokenizer, TEXT)[: 8 * 16]
    text = plain_tokenizer.decode(tokens)
    assert plain_tokens(plain_tokenizer, text) == tokens
    blocks = draw_blocks([text], plain_tokenizer, 8, 16, "somewhere")
    expected = torch.tensor(tokens).reshape(8, 16).tolist()
    assert sorted(blocks.tokens.tolist()) == sorted(expected)
    assert blocks.tokens.tolist() != expected
    assert blocks.documents == 1


def test_long_documents_give_one_piece_each_before_any_gives_another(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    documents = long_documents(5)
    blocks = draw_blocks(documents, plain_tokenizer, 5, 16, "somewhere")
    assert letters(plain_tokenizer, blocks) == ["a", "b", "c", "d", "e"]
    assert blocks.documents == 5
    more = draw_blocks(documents, plain_tokenizer, 12, 16, "somewhere")
    assert letters(plain_tokenizer, more) == ["a", "b", "c", "d", "e"] * 2 + ["a", "b"]
    assert more.documents == 5


def test_short_documents_are_packed_between_long_ones(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    documents = ["b" * 5, "a" * 400, "c" * 12]
    blocks = draw_blocks(documents, plain_tokenizer, 3, 16, "somewhere")
    assert letters(plain_tokenizer, blocks) == ["a", "bc", "a"]
    assert blocks.documents == 3


def test_documents_that_gave_no_token_are_not_counted(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    blocks = draw_blocks(["b" * 5, *long_documents(1)], plain_tokenizer, 2, 16, "somewhere")
    assert letters(plain_tokenizer, blocks) == ["a", "a"]
    assert blocks.documents == 1


def test_pieces_are_from_places_drawn_with_the_seed(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    words = Random(0)
    document = "".join(words.choices("bcdfgjklm", k=300))
    tokens = plain_tokens(plain_tokenizer, document)
    starts = set()
    for seed in range(20):
        (block,) = draw_blocks([document], plain_tokenizer, 1, 200, "somewhere", seed=seed).tokens.tolist()
        again = draw_blocks([document], plain_tokenizer, 1, 200, "somewhere", seed=seed).tokens.tolist()
        assert [block] == again
        starts |= {start for start in range(101) if tokens[start : start + 200] == block}
    assert len(starts) > 10


def test_further_pieces_do_not_overlap(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    words = Random(1)
    document = "".join(words.choices("bcdfgjklm", k=16 * 7 + 5))
    tokens = plain_tokens(plain_tokenizer, document)
    blocks = draw_blocks([document], plain_tokenizer, 7, 16, "somewhere", seed=3).tokens.tolist()
    starts = sorted(next(at for at in range(len(tokens)) if tokens[at : at + 16] == block) for block in blocks)
    assert all(later - earlier == 16 for earlier, later in itertools.pairwise(starts))


def test_what_is_left_of_long_documents_is_packed_last(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    documents = ["a" * 24, "b" * 24]
    blocks = draw_blocks(documents, plain_tokenizer, 3, 16, "somewhere")
    assert letters(plain_tokenizer, blocks) == ["a", "b", "ab"]
    with refused("somewhere", 48, 4, 16, 64):
        draw_blocks(documents, plain_tokenizer, 4, 16, "somewhere")


def test_no_more_documents_are_read_than_needed(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    def documents() -> Iterator[str]:
        yield "xyz"
        yield "xyz"
        raise AssertionError("asked for a third document")

    assert draw_blocks(documents(), plain_tokenizer, 1, 7, "somewhere").tokens.shape == (1, 7)


def test_no_more_of_a_document_is_tokenized_than_needed(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = some_tokens(tiny_tokenizer, TEXT, 20, Random(0), [7])
    everything = plain_tokens(tiny_tokenizer, TEXT)
    assert 20 <= len(tokens) < 200
    assert any(everything[start : start + len(tokens)] == tokens for start in range(len(everything)))


def test_a_part_of_a_long_text_is_from_anywhere_in_it(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    text = " ".join(f"{number:04}" for number in range(2000))
    firsts = [tiny_tokenizer.decode(some_tokens(tiny_tokenizer, text, 40, Random(seed)))[1:5] for seed in range(40)]
    numbers = [int(first) for first in firsts]
    assert min(numbers) < 400
    assert max(numbers) > 1500
    assert all(f"{number:04}" == first for number, first in zip(numbers, firsts, strict=True))


def test_text_of_long_tokens_is_tokenized_further(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    # One token for ten characters: the first look at the text finds too few.
    tiny_tokenizer.add_tokens(["abcdefghij"])
    assert len(some_tokens(tiny_tokenizer, "abcdefghij" * 100, 50, Random(0))) >= 50


def test_a_whole_text_has_what_belongs_before_it(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    assert some_tokens(tiny_tokenizer, "xyz", 20, Random(0), [7]) == [7, *plain_tokens(tiny_tokenizer, "xyz")]


def test_too_little_text_is_refused_with_both_numbers(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    with refused("a.txt", 6, 2, 4, 8):
        draw_blocks(["xyz", "qz"], plain_tokenizer, 2, 4, "a.txt")


def test_exactly_enough_text_is_enough(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    # Eight tokens with the separators, and two blocks of BOS and four.
    assert draw_blocks(["xyz", "qz", "k"], tiny_tokenizer, 2, 5, "a.txt").tokens.shape == (2, 5)


def test_wording_of_a_calibration_set() -> None:
    tokens = torch.zeros(2, 8, dtype=torch.int64)
    assert describe(CalibrationSet(tokens, "a.txt", documents=3, bos="each-window")) == (
        "Calibration on 2 sequences of 8 tokens of a.txt, from 3 documents, each beginning with BOS."
    )
    assert describe(CalibrationSet(tokens, "a.txt", documents=1, bos="text-start")) == (
        "Calibration on 2 sequences of 8 tokens of a.txt, from 1 document, with BOS where a document starts."
    )
    assert describe(CalibrationSet(tokens, "self")) == "Calibration on 2 sequences of 8 tokens of self."
