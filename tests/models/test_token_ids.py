"""Tokens beyond the embedding."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibrate import calibrate
from optishear.calibration.calibration_set import CalibrationSet
from optishear.calibration.text import read_documents
from optishear.evaluation.perplexity import perplexity
from optishear.statistics.collect import collect_statistics
from tiny import VOCABULARY, random_calibration
from wording import refused


def test_a_token_beyond_the_embedding_is_named(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    text = tmp_path / "chat.jsonl"
    text.write_text((json.dumps({"text": "<|im_start|>the rest<|im_end|>" * 20}) + "\n") * 5)

    with refused("'<|im_end|>'", VOCABULARY + 1, VOCABULARY):
        calibrate(tiny_llama, tiny_tokenizer, calibration=str(text), sequences=4, sequence_length=16)


def test_every_pass_refuses_a_token_beyond_the_embedding(tiny_llama: PreTrainedModel) -> None:
    tokens = random_calibration().tokens
    tokens[2, 3] = VOCABULARY + 7

    with refused(VOCABULARY + 7, VOCABULARY, 1):
        perplexity(tiny_llama, tokens)
    with refused(VOCABULARY + 7, VOCABULARY, 1):
        collect_statistics(tiny_llama, CalibrationSet(tokens, "own"), progress=False)


def test_half_a_character_is_read_as_the_replacement_character(tmp_path: Path) -> None:
    text = tmp_path / "cut.jsonl"
    text.write_text('{"text": "the \\ud83d end"}\n{"text": "whole \\ud83d\\ude00"}\n')

    assert list(read_documents(str(text))) == ["the \ufffd end", "whole \U0001f600"]
