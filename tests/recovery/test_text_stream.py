"""Blocks of a text, without end, without what is held out, and from any place."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from optishear.errors import InputError
from optishear.recovery.recovery_text import RecoveryText
from optishear.recovery.text_stream import OwnText, TextStream, cut
from recovery_text import words_file
from tiny import WORDS, make_tokenizer, tiny_model
from wording import refused

LENGTH = 16


def documents_file(folder: Path, count: int = 60) -> Path:
    """Documents of twelve words, each with its number."""
    path = folder / "documents.jsonl"
    texts = (f"{number} " + " ".join(WORDS[number % 5 : number % 5 + 12]) for number in range(count))
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def stream(source: Path, held_out: int = 4, seed: int = 0, bos: str = "each-window") -> TextStream:
    return TextStream(str(source), make_tokenizer(), tiny_model(), LENGTH, held_out, seed=seed, bos=bos)


def text_of(blocks: Tensor) -> str:
    tokenizer = make_tokenizer()
    return "".join(tokenizer.decode(block, skip_special_tokens=True) for block in blocks)


def test_blocks_begin_with_bos_and_go_on_where_the_last_ended(tmp_path: Path) -> None:
    one, another = stream(words_file(tmp_path)), stream(words_file(tmp_path))
    together, apart = one.take(6, LENGTH), torch.cat([another.take(2, LENGTH), another.take(4, LENGTH)])
    assert torch.equal(together, apart)
    assert together.shape == (6, LENGTH)
    assert (together[:, 0] == 1).all()
    assert not (together[:, 1:] == 1).any()


def test_with_text_start_only_documents_begin_with_bos(tmp_path: Path) -> None:
    blocks = stream(documents_file(tmp_path), bos="text-start").take(8, LENGTH)
    assert not (blocks[:, 0] == 1).all()
    assert (blocks == 1).any()


def test_what_is_held_out_is_never_given(tmp_path: Path) -> None:
    text = stream(documents_file(tmp_path))
    held_out = set(text_of(text.held_out).replace("</s>", " ").split())
    numbers = {word for word in held_out if word.isdigit()}
    assert numbers
    given = text_of(text.take(400, LENGTH)).split()
    assert not [word for word in given if word in numbers and given.count(word) > 20]


def test_the_end_of_the_text_is_its_beginning_in_another_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = stream(documents_file(tmp_path))
    seen: list[Tensor] = []
    while text.position.epoch < 2:
        seen.append(text.take(1, LENGTH))
    assert caplog.text.count("is used up") == 1
    first, second = torch.cat(seen[: len(seen) // 2]), torch.cat(seen[len(seen) // 2 :])
    assert not torch.equal(first[: len(second)], second[: len(first)])
    assert sorted(set(first.flatten().tolist())) == sorted(set(second.flatten().tolist()))


@pytest.mark.parametrize("before", [0, 3, 150])
def test_a_position_gives_the_same_blocks_again(tmp_path: Path, before: int) -> None:
    one = stream(documents_file(tmp_path))
    if before:
        one.take(before, LENGTH)
    position = type(one.position).model_validate_json(one.position.model_dump_json())
    another = stream(documents_file(tmp_path))
    another.go_to(position)
    assert torch.equal(one.take(50, LENGTH), another.take(50, LENGTH))


def test_shorter_sequences_go_on_in_the_same_text(tmp_path: Path) -> None:
    long, short = stream(documents_file(tmp_path)), stream(documents_file(tmp_path))
    assert torch.equal(long.held_out, short.held_out)
    # Each begins with BOS, and the first of both are of the same text.
    sequences = short.take(6, 6)
    assert sequences.shape == (6, 6)
    assert (sequences[:, 0] == 1).all()
    assert torch.equal(sequences[:, 1:].flatten(), long.take(2, LENGTH)[:, 1:].flatten())


def test_a_text_of_less_than_twice_what_is_held_out_is_refused(tmp_path: Path) -> None:
    enough, short = words_file(tmp_path, "enough.txt", 60), words_file(tmp_path, "short.txt", 40)
    stream(enough, held_out=2)
    with refused("recovery", 240):
        stream(short, held_out=8)


def test_passages_are_the_document() -> None:
    document = " ".join(WORDS * 30) + "x" * 205
    passages = list(cut(document, 100))
    assert "".join(passages) == document
    assert max(map(len, passages)) <= 100
    assert len(passages) > 3


def test_a_models_own_text_goes_on_from_any_place() -> None:
    model, tokenizer = tiny_model().requires_grad_(False), make_tokenizer()
    one, another = (OwnText(model, tokenizer, 8, 2, seed=3) for _ in range(2))
    before = one.take(5, 8)
    another.go_to(one.position)
    after, again = one.take(40, 8), another.take(40, 8)
    assert torch.equal(after, again)
    assert len({tuple(block) for block in torch.cat([one.held_out, before, after]).tolist()}) > 40


def test_a_models_own_text_is_given_in_parts() -> None:
    model, tokenizer = tiny_model().requires_grad_(False), make_tokenizer()
    whole, parts = (OwnText(model, tokenizer, 8, 2, seed=3) for _ in range(2))
    blocks = whole.take(2, 8)
    assert torch.equal(parts.take(4, 3), torch.stack([part for block in blocks for part in (block[:3], block[3:6])]))
    apart = OwnText(model, tokenizer, 8, 2, seed=3)
    apart.go_to(parts.position)
    assert torch.equal(apart.take(90, 3), parts.take(90, 3))


def test_several_texts_take_turns(tmp_path: Path) -> None:
    words, documents = words_file(tmp_path), documents_file(tmp_path)
    model, tokenizer = tiny_model().requires_grad_(False), make_tokenizer()
    sources = [str(words), str(documents)]
    both = RecoveryText(sources, model, tokenizer, LENGTH, 5, seed=0, bos="each-window")
    of_words, of_documents = stream(words, held_out=3), stream(documents, held_out=2)
    assert torch.equal(both.held_out, torch.cat([of_words.held_out, of_documents.held_out]))
    expected = torch.stack([next_of.take(1, LENGTH)[0] for next_of in (of_words, of_documents, of_words)])
    assert torch.equal(both.take(3, LENGTH), expected)
    another = RecoveryText(sources, model, tokenizer, LENGTH, 5, seed=0, bos="each-window")
    another.go_to(both.positions, 3)
    assert torch.equal(both.take(7, LENGTH), another.take(7, LENGTH))


def test_blocks_longer_than_the_context_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="context"):
        RecoveryText([str(words_file(tmp_path))], tiny_model(), make_tokenizer(), 512, 2, seed=0, bos="each-window")
