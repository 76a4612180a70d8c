"""What a model takes, and decoding."""

import torch
from transformers.modeling_utils import PreTrainedModel

from optishear.inference.decode import Decoded, decode
from optishear.inference.footprint import measure_footprint, memory_bytes

PROMPT = torch.tensor([[5, 6, 7, 8]])


def test_decoding_is_that_of_the_library(family_model: PreTrainedModel) -> None:
    family_model.generation_config.eos_token_id = None
    expected = family_model.generate(PROMPT, max_new_tokens=6, do_sample=False)[0, 4:].tolist()
    decoded = decode(family_model, PROMPT, 6)
    assert decoded.tokens == expected
    assert len(decoded.seconds) == 6


def test_decoding_stops_at_the_end_of_the_text(tiny_llama: PreTrainedModel) -> None:
    tokens = decode(tiny_llama, PROMPT, 6).tokens
    end = tokens[2]
    assert decode(tiny_llama, PROMPT, 6, ends=frozenset([end])).tokens == tokens[: tokens.index(end) + 1]


def test_decoding_stops_when_its_time_is_over(tiny_llama: PreTrainedModel) -> None:
    decoded = decode(tiny_llama, PROMPT, 10**6, seconds=0.2)
    assert 1 <= len(decoded.tokens) < 10**6
    assert len(decode(tiny_llama, PROMPT, 5, seconds=0.0).tokens) == 0


def test_the_speed_is_that_of_the_median_token_after_the_first() -> None:
    assert Decoded([1, 2, 3, 4], [9.0, 0.5, 0.1, 7.0]).tokens_per_second == 2
    assert Decoded([1], [0.25]).tokens_per_second == 4


def test_memory_counts_tied_weights_once(tiny_llama: PreTrainedModel) -> None:
    parameters = sum(parameter.nbytes for parameter in tiny_llama.parameters())
    assert tiny_llama.get_output_embeddings().weight is tiny_llama.get_input_embeddings().weight
    assert memory_bytes(tiny_llama) == parameters + sum(buffer.nbytes for buffer in tiny_llama.buffers())


def test_the_footprint_of_a_model(tiny_llama: PreTrainedModel) -> None:
    footprint = measure_footprint(tiny_llama, 123)
    assert footprint.disk_bytes == 123
    assert footprint.memory_bytes == memory_bytes(tiny_llama)
    assert footprint.tokens_per_second > 0
    assert footprint.device == "cpu"
