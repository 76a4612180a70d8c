import torch
from transformers.modeling_utils import PreTrainedModel

from optishear.models.layers import block_path, decoder_blocks, prunable_layers
from optishear.reconstruction.second_moment import SecondMoments
from optishear.reconstruction.stream import block_calls, equal_batches, first_inputs
from tiny import random_calibration


def inputs_of_all_layers(model: PreTrainedModel, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}
    handles = [
        layer.module.register_forward_pre_hook(
            lambda _, inputs, name=layer.name: seen.update({name: inputs[0].detach().flatten(0, -2)})
        )
        for layer in prunable_layers(model)
    ]
    with torch.no_grad():
        model(tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def test_block_by_block_is_the_whole_model(family_model: PreTrainedModel) -> None:
    tokens = random_calibration().tokens
    _, blocks = decoder_blocks(family_model)
    batches = equal_batches(tokens, most_tokens=32)
    assert [batch.shape for batch in batches] == [(1, 16)] * 6
    calls = block_calls(family_model, blocks, batches[0])
    hidden = first_inputs(family_model, blocks, batches)
    ends: list[torch.Tensor] = []
    handle = blocks[-1].register_forward_hook(
        lambda _, __, output: ends.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        family_model(tokens, use_cache=False)
        handle.remove()
        for call, block in zip(calls, blocks, strict=True):
            hidden = [call.run(block, each) for each in hidden]
    torch.testing.assert_close(torch.cat(hidden), ends[0])


def test_moments_are_those_of_the_inputs_once_for_each(family_model: PreTrainedModel) -> None:
    tokens = random_calibration().tokens
    seen = inputs_of_all_layers(family_model, tokens)
    layers = prunable_layers(family_model)
    moments = SecondMoments(layers)
    with moments.watching(), torch.no_grad():
        for batch in equal_batches(tokens, most_tokens=32):
            family_model(batch, use_cache=False)
    groups = moments.groups()
    assert sorted(layer.name for _, members in groups for layer in members) == sorted(seen)
    for moment, members in groups:
        for layer in members:
            rows = seen[layer.name].double()
            torch.testing.assert_close(moment, (rows.T @ rows / len(rows)).float(), rtol=1e-4, atol=1e-5)
    together = [{block_path(layer) for layer in members} for _, members in groups]
    assert {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"} in together
    assert len(groups) == 2 * 4
    assert not any(layer.module._forward_pre_hooks for layer in layers)


def test_a_layer_that_never_ran_has_no_moment(tiny_llama: PreTrainedModel) -> None:
    layers = prunable_layers(tiny_llama)
    (moment, members), *_ = SecondMoments(layers[:1]).groups()
    assert members == layers[:1]
    assert torch.equal(moment, torch.zeros(32, 32))


def test_batches_are_equal_and_never_empty() -> None:
    assert [len(batch) for batch in equal_batches(torch.zeros(32, 16))] == [4] * 8
    assert [len(batch) for batch in equal_batches(torch.zeros(128, 16), most_tokens=64)] == [4] * 32
    assert [len(batch) for batch in equal_batches(torch.zeros(49, 16))] == [1] * 49
    assert [len(batch) for batch in equal_batches(torch.zeros(1, 16), most_tokens=1)] == [1]
