"""A configuration or tokenizer that cannot be used is refused in one sentence before a weight is read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from optishear.models.load import load_model, model_without_weights
from optishear.models.source import resolve_model
from wording import refused


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "values",
    [
        {"num_attention_heads": 0},
        {"hidden_size": None},
        {"hidden_size": [32]},
        {"hidden_size": "wide"},
        {"vocab_size": -1},
        {"hidden_act": "no_such_activation"},
        {"rms_norm_eps": float("nan")},
        {"architectures": "LlamaForCausalLM"},
        {"architectures": [None]},
        {"num_hidden_layers": 10**9},
        {"attn_implementation": "flash_attention_2"},
    ],
    ids=str,
)
def test_a_configuration_is_refused_without_its_weights(model_folder: Path, values: dict[str, Any]) -> None:
    _change(model_folder / "config.json", **values)
    with refused(model_folder.name):
        model_without_weights(resolve_model(str(model_folder)), False)


@pytest.mark.parametrize("values", [{"rms_norm_eps": -1.0}, {"rms_norm_eps": float("-inf")}], ids=str)
def test_a_configuration_that_gives_no_numbers_is_refused(model_folder: Path, values: dict[str, Any]) -> None:
    _change(model_folder / "config.json", **values)
    with refused("config.json", "model.layers.0.input_layernorm"):
        load_model(str(model_folder), device="cpu")


@pytest.mark.parametrize("length", [0, -5, True, "long"])
def test_a_tokenizer_without_a_usable_length_is_refused(model_folder: Path, length: object) -> None:
    _change(model_folder / "tokenizer_config.json", model_max_length=length)
    with refused(model_folder.name):
        load_model(str(model_folder), device="cpu")


def test_weights_of_a_lost_quantization_are_refused(model_folder: Path) -> None:
    path = model_folder / "model.safetensors"
    weights = load_file(path)
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name] = (weights[name] * 100).to(torch.int8)
    save_file(weights, path, metadata={"format": "pt"})
    with refused(name, "I8"):
        load_model(str(model_folder), device="cpu")
