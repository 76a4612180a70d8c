"""The shape of a model is that of its structure, with or without weights."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from optishear.memory.model_shape import ModelShape, shape_of, shape_of_resident, shape_of_shard
from optishear.models.shards import placement_on
from tiny import FAMILIES, VOCABULARY, tiny_model


def test_sizes_of_a_model_of_llamas_kind() -> None:
    attention, mlp = 32 * 32 * 2 + 32 * 16 * 2, 3 * 32 * 64
    assert shape_of(tiny_model("mistral", layers=3)) == ModelShape(
        parameters=2 * VOCABULARY * 32 + 3 * (attention + mlp + 2 * 32) + 32,
        prunable=3 * (attention + mlp),
        block=attention + mlp,
        layer=32 * 64,
        blocks=3,
        width=32,
        inner=64,
        written=32 + 16 + 16 + 32 + 64 + 64 + 32,
        keys=2 * 2 * 8,
        vocabulary=VOCABULARY,
        # Of query, key and value together; the attention's output; gate and up together; down.
        squared_inputs=3 * 32**2 + 64**2,
    )


@pytest.mark.parametrize("kind", FAMILIES)
def test_no_weights_are_needed(kind: str) -> None:
    model = tiny_model(kind)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(model.config)
    assert shape_of(empty) == shape_of(model)


def test_of_a_model_over_two_devices_it_is_that_of_the_largest_part() -> None:
    model, gpus = tiny_model("mistral", layers=3), (torch.device("cuda:0"), torch.device("cuda:1"))
    whole, shard = shape_of(model), shape_of_shard(model, placement_on("a model", model, gpus))
    assert shard.blocks == 2
    assert shard.prunable == 2 * whole.block
    assert whole.parameters / 2 < shard.parameters < whole.parameters
    assert shard.layer == whole.layer
    assert shape_of_shard(model, placement_on("a model", model, gpus[:1])) == whole


def test_of_a_model_on_disk_it_has_one_block() -> None:
    resident = [shape_of_resident(tiny_model("mistral", layers=layers)) for layers in (2, 20)]
    assert resident[0] == resident[1]
    assert resident[0].prunable == resident[0].block
    block = sum(parameter.numel() for parameter in tiny_model("mistral").model.layers[0].parameters())
    assert resident[0].parameters == 2 * VOCABULARY * 32 + 32 + 2 * block
