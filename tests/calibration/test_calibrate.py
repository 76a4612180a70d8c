import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibrate import calibrate, check_calibration
from optishear.calibration.self_generated import generate
from optishear.errors import InputError
from wording import refused


def test_self_is_sampled_from_the_model(tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    made = calibrate(tiny_llama, tiny_tokenizer, calibration="self", sequences=2, sequence_length=16, seed=3)
    assert torch.equal(made.tokens, generate(tiny_llama, tiny_tokenizer, 2, 16, 3).tokens)


def test_documents_are_taken_in_an_order_drawn_with_the_seed(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    source = tmp_path / "text.jsonl"
    source.write_text("\n".join(json.dumps({"text": f"{number:03}"}) for number in range(100)))
    first, again, other = (
        calibrate(tiny_llama, tiny_tokenizer, calibration=str(source), sequences=2, sequence_length=32, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.digest == again.digest != other.digest
    assert first.source == str(source)


def test_blocks_longer_than_the_context_are_refused(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    with refused("sequence_length", 257, 256):
        calibrate(tiny_llama, tiny_tokenizer, sequences=1, sequence_length=257)


@pytest.mark.parametrize("calibration", ["self", "python-docs", "hub:allenai/c4/en"])
def test_the_check_passes_what_can_be_read(calibration: str) -> None:
    check_calibration(calibration)


def test_the_check_refuses_what_cannot_be_read() -> None:
    with pytest.raises(InputError, match=r"'none.txt'"):
        check_calibration("none.txt")
