"""The shape of a model is that of its structure, with or without weights."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from optishear.memory.model_shape import ModelShape, shape_of
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
