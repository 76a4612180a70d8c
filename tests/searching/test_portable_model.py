"""A model that was taken apart and put together elsewhere computes the same."""

import pickle

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM
from transformers.modeling_utils import PreTrainedModel

from optishear.searching.portable_model import PortableModel
from tiny import FAMILIES, random_calibration, tiny_model

TOKENS = random_calibration(3, 16).tokens


def transposed() -> PreTrainedModel:
    """A model whose layers are stored the other way round, with a weight that is a part of a larger tensor."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=128, n_positions=64))
    layer = model.transformer.h[0].mlp.c_fc
    layer.weight = nn.Parameter(layer.weight.detach().T.contiguous().T)
    norm = model.transformer.ln_f
    norm.weight = nn.Parameter(torch.ones(64).view(32, 2)[:, 1])
    return model.eval()


def experts() -> PreTrainedModel:
    torch.manual_seed(0)
    config = MixtralConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=128, num_local_experts=4,
    )  # fmt: skip
    return MixtralForCausalLM(config).eval()


MODELS = {
    **{family: lambda family=family: tiny_model(family) for family in FAMILIES},
    "gpt2": transposed,
    "moe": experts,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_it_computes_the_same(name: str, dtype: torch.dtype) -> None:
    model = MODELS[name]().to(dtype)
    portable = PortableModel.of(model)
    assert portable.nbytes == sum(parameter.nbytes for parameter in model.parameters())
    moved = pickle.loads(pickle.dumps(portable))
    for weight in moved.weights:
        weight.flags.writeable = False
    loaded = moved.on(torch.device("cpu"))
    assert torch.equal(loaded(TOKENS).logits, model(TOKENS).logits)
    for (name, copy), (expected_name, original) in zip(
        loaded.named_parameters(), model.named_parameters(), strict=True
    ):
        assert name == expected_name
        assert torch.equal(copy, original)
        assert copy.data_ptr() != original.data_ptr()
        assert not copy.requires_grad
    for (name, copy), (expected_name, original) in zip(loaded.named_buffers(), model.named_buffers(), strict=True):
        assert (name, copy.dtype) == (expected_name, original.dtype)
        assert torch.equal(copy, original)
    # A tied head stays one with the embeddings.
    loaded.get_input_embeddings().weight.fill_(1)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert bool((loaded.get_output_embeddings().weight == 1).all()) == tied


def test_the_order_in_memory_stays() -> None:
    loaded = PortableModel.of(transposed()).on(torch.device("cpu"))
    assert loaded.transformer.h[0].mlp.c_fc.weight.stride() == (1, 32)
