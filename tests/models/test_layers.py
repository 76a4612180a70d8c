import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.models.coverage import coverage
from optishear.models.layers import prunable_layers

GATED = {
    "self_attn.q_proj": "attention_in",
    "self_attn.k_proj": "attention_in",
    "self_attn.v_proj": "attention_in",
    "self_attn.o_proj": "attention_out",
    "mlp.gate_proj": "mlp_in",
    "mlp.up_proj": "mlp_in",
    "mlp.down_proj": "mlp_out",
}
PLAIN = {
    "self_attn.q_proj": "attention_in",
    "self_attn.k_proj": "attention_in",
    "self_attn.v_proj": "attention_in",
    "self_attn.out_proj": "attention_out",
    "fc1": "mlp_in",
    "fc2": "mlp_out",
}


def test_finds_exactly_the_linear_layers_of_the_blocks(family: str, family_model: PreTrainedModel) -> None:
    path, kinds = ("model.decoder.layers", PLAIN) if family == "opt" else ("model.layers", GATED)

    found = {layer.name: layer.kind for layer in prunable_layers(family_model)}

    assert found == {f"{path}.{block}.{name}": kind for block in (0, 1) for name, kind in kinds.items()}


def test_goes_through_the_blocks_in_order(family_model: PreTrainedModel) -> None:
    layers = prunable_layers(family_model)

    assert [layer.decoder_layer for layer in layers] == sorted(layer.decoder_layer for layer in layers)
    assert {layer.decoder_layer for layer in layers} == {0, 1}


def test_gives_the_modules_of_the_model_itself(family_model: PreTrainedModel) -> None:
    for layer in prunable_layers(family_model):
        assert layer.module is family_model.get_submodule(layer.name)
        assert f".{layer.decoder_layer}." in layer.name


def test_leaves_head_and_embeddings_alone(family_model: PreTrainedModel) -> None:
    found = {id(layer.module.weight) for layer in prunable_layers(family_model)}

    assert id(family_model.get_input_embeddings().weight) not in found
    assert id(family_model.get_output_embeddings().weight) not in found


def test_refuses_a_model_without_decoder_linears() -> None:
    with pytest.raises(InputError, match="Sequential has no prunable layers"):
        prunable_layers(nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4)))


def test_a_transposed_weight_is_seen_as_out_by_in() -> None:
    model = AutoModelForCausalLM.from_config(GPT2Config(n_embd=8, n_head=2, n_layer=1, vocab_size=16))

    layer = prunable_layers(model)[0]

    assert layer.name == "transformer.h.0.attn.c_attn"
    assert (layer.module.out_features, layer.module.in_features) == (24, 8)
    assert torch.equal(layer.module.weight, model.transformer.h[0].attn.c_attn.weight.T)
    assert layer.parameter_name == "transformer.h.0.attn.c_attn.weight"


def test_a_layer_that_never_runs_is_left_out(tiny_llama: PreTrainedModel) -> None:
    tiny_llama.model.layers[1].mlp.spare = nn.Linear(32, 32)

    assert "model.layers.1.mlp.spare" not in {layer.name for layer in prunable_layers(tiny_llama)}
    assert coverage(tiny_llama).left_out == {"mlp.spare.weight": 32 * 32}


def test_a_weight_that_blocks_share_is_one_layer(tiny_llama: PreTrainedModel) -> None:
    first, second = tiny_llama.model.layers
    second.mlp.up_proj.weight = first.mlp.up_proj.weight

    layers = prunable_layers(tiny_llama)

    assert len(layers) == 13
    (shared,) = [layer for layer in layers if layer.shared_by]
    assert shared.module is first.mlp.up_proj
    assert shared.shared_by == (second.mlp.up_proj,)
