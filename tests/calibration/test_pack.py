from collections.abc import Iterator

import torch
from transformers import PreTrainedTokenizerFast

from optishear.calibration.pack import first_tokens, pack
from wording import refused

TEXT = "then he was here and there, in his heart, on and on; " * 200


def test_documents_are_packed_end_to_end_with_a_separator(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    packed = pack(["xyz", "qz", "uvw"], tiny_tokenizer, 2, 4, "somewhere")
    x, y, z, q, u = tiny_tokenizer.convert_tokens_to_ids(list("xyzqu"))
    eos = tiny_tokenizer.eos_token_id
    assert packed.tokens.tolist() == [[x, y, z, eos], [q, z, eos, u]]
    assert packed.tokens.dtype == torch.int64
    assert packed.source == "somewhere"


def test_a_tokenizer_without_end_of_sequence_puts_nothing_between(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tiny_tokenizer.eos_token = None
    packed = pack(["xy", "z"], tiny_tokenizer, 1, 3, "somewhere")
    assert tiny_tokenizer.decode(packed.tokens[0]) == "xyz"


def test_a_long_document_is_cut_into_blocks(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    packed = pack([TEXT], tiny_tokenizer, 8, 16, "somewhere")
    expected = tiny_tokenizer(TEXT, add_special_tokens=False)["input_ids"][: 8 * 16]
    assert packed.tokens.flatten().tolist() == expected


def test_no_more_documents_are_read_than_needed(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    def documents() -> Iterator[str]:
        yield "xyz"
        yield "xyz"
        raise AssertionError("asked for a third document")

    assert pack(documents(), tiny_tokenizer, 1, 7, "somewhere").tokens.shape == (1, 7)


def test_no_more_of_a_document_is_tokenized_than_needed(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = first_tokens(tiny_tokenizer, TEXT, enough=20)
    everything = tiny_tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert 20 < len(tokens) < len(everything)
    assert tokens[:20] == everything[:20]


def test_text_of_long_tokens_is_tokenized_further(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    # One token for ten characters: the first look at the text finds too few.
    tiny_tokenizer.add_tokens(["abcdefghij"])
    assert len(first_tokens(tiny_tokenizer, "abcdefghij" * 100, enough=50)) > 50


def test_too_little_text_is_refused_with_both_numbers(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with refused("a.txt", 6, 2, 4, 8):
        pack(["xyz", "qz"], tiny_tokenizer, 2, 4, "a.txt")


def test_exactly_enough_text_is_enough(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    assert pack(["xyz", "qz"], tiny_tokenizer, 2, 3, "a.txt").tokens.shape == (2, 3)
