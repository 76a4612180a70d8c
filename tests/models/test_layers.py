import pytest
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
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


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4)),
        # GPT-2's blocks hold no linear layers but Conv1D, whose weight is transposed; its head is one.
        AutoModelForCausalLM.from_config(GPT2Config(n_embd=8, n_head=2, n_layer=1, vocab_size=16)),
    ],
    ids=["no blocks", "no linear layers in the blocks"],
)
def test_refuses_a_model_without_decoder_linears(model: nn.Module) -> None:
    with pytest.raises(InputError, match=f"{type(model).__name__} has no prunable layers"):
        prunable_layers(model)
