"""GGUF files of tiny models: what stands in them, and what is refused. llama.cpp itself is in test_llama_cpp.py."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, quants
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, PreTrainedTokenizerFast

from optishear.models.load import load_model
from optishear.models.source import resolve_model
from optishear.parameters.export_formats import GgufType
from optishear.pruning.export import export_checkpoint
from optishear.serving.gguf_export import export_gguf
from served_models import CONFIGURATIONS, byte_level_tokenizer, saved_model, served_model
from tiny import tiny_model
from wording import refused

TOKENS = torch.arange(3, 43)[None]


def exported(source: Path, gguf_type: GgufType = "f32") -> Path:
    file = source.with_name(f"{source.name}-{gguf_type}.gguf")
    export_gguf(source, file, gguf_type, "tiny")
    return file


def kinds(file: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(file).tensors}


def weight_of(file: Path, name: str) -> np.ndarray:
    tensor = next(tensor for tensor in GGUFReader(file).tensors if tensor.name == name)
    return quants.dequantize(tensor.data, tensor.tensor_type)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_transformers_reads_the_very_model(tmp_path: Path, name: str) -> None:
    model = saved_model(tmp_path / name, name)
    loaded = load_model(str(exported(tmp_path / name)), dtype="float32", device="cpu").model
    assert torch.equal(loaded(TOKENS).logits, model(TOKENS).logits)


def test_a_packed_checkpoint_gives_the_same_file(tmp_path: Path) -> None:
    model = served_model(CONFIGURATIONS["llama"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[torch.rand_like(parameter) < 0.5] = 0
    model.save_pretrained(tmp_path / "dense")
    byte_level_tokenizer().save_pretrained(tmp_path / "dense")
    export_checkpoint(tmp_path / "dense", tmp_path / "packed", "bitmask")
    assert exported(tmp_path / "packed").read_bytes() == exported(tmp_path / "dense").read_bytes()


def test_matrices_have_the_type_and_norms_are_float32(tmp_path: Path) -> None:
    saved_model(tmp_path / "model", "qwen2")
    for gguf_type, embedding in (("bf16", "BF16"), ("q8_0", "Q8_0"), ("q4_0", "Q8_0"), ("f32", "F32")):
        stored = kinds(exported(tmp_path / "model", gguf_type))
        assert stored["token_embd.weight"] == stored["output.weight"] == embedding
        assert stored["blk.1.ffn_down.weight"] == gguf_type.upper()
        assert {kind for name, kind in stored.items() if "norm" in name or "bias" in name} == {"F32"}


def test_rows_that_no_blocks_fit_are_bfloat16(tmp_path: Path) -> None:
    sizes = {"hidden_size": 48, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16}
    config = LlamaConfig(**CONFIGURATIONS["llama"].to_dict() | sizes)
    served_model(config).save_pretrained(tmp_path / "model")
    byte_level_tokenizer().save_pretrained(tmp_path / "model")
    stored = kinds(exported(tmp_path / "model", "q8_0"))
    assert stored["blk.0.ffn_up.weight"] == "BF16"
    assert stored["blk.0.ffn_down.weight"] == "Q8_0"


def half_pruned(folder: Path) -> torch.Tensor:
    """Save a model; the weight of a layer of it, of which half are zeros."""
    model = served_model(CONFIGURATIONS["qwen2"])
    weight: torch.Tensor = model.model.layers[0].mlp.up_proj.weight
    with torch.no_grad():
        weight[torch.rand_like(weight) < 0.5] = 0
    model.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return weight


@pytest.mark.parametrize(("gguf_type", "steps"), [("q8_0", 127), ("q5_0", 16), ("q4_0", 8)])
def test_quantized_weights_are_near_and_zeros_stay_zeros(tmp_path: Path, gguf_type: GgufType, steps: int) -> None:
    weight = half_pruned(tmp_path / "model")

    found = torch.from_numpy(weight_of(exported(tmp_path / "model", gguf_type), "blk.0.ffn_up.weight"))
    assert not found[weight == 0].any()
    blocks = weight.detach().view(-1, 32)
    step = blocks.abs().amax(dim=1, keepdim=True) / steps
    # The largest of the other sign may be a whole step away, and the scale is a float16.
    assert ((found.view(-1, 32) - blocks).abs() <= 1.01 * step).all()
    assert ((found.view(-1, 32) - blocks).abs() <= 0.51 * step).float().mean() > 0.9


@pytest.mark.parametrize("gguf_type", ["q4_1", "q5_1"])
def test_types_with_a_minimum_do_not_keep_zeros(tmp_path: Path, gguf_type: GgufType) -> None:
    """As docs/serving.md says."""
    weight = half_pruned(tmp_path / "model")
    found = torch.from_numpy(weight_of(exported(tmp_path / "model", gguf_type), "blk.0.ffn_up.weight"))
    assert (found[weight == 0] != 0).any()


def test_bfloat16_is_rounded_to_nearest(tmp_path: Path) -> None:
    model = saved_model(tmp_path / "model", "qwen2")
    file = exported(tmp_path / "model", "bf16")
    expected = model.model.layers[1].mlp.gate_proj.weight.to(torch.bfloat16).float()
    assert torch.equal(torch.from_numpy(weight_of(file, "blk.1.ffn_gate.weight")), expected)
    assert GGMLQuantizationType.BF16.name == kinds(file)["blk.1.ffn_gate.weight"]


def test_the_name_of_the_pre_tokenizer_survives_a_conversion(tmp_path: Path) -> None:
    """transformers splits texts as GPT-2 does, whatever the file says."""
    saved_model(tmp_path / "model", "llama")
    first = exported(tmp_path / "model")
    source = resolve_model(str(first))
    load_model(str(first), device="cpu")
    again = tmp_path / "again.gguf"
    export_gguf(Path(source.location), again, "f32", "tiny")
    assert GGUFReader(again).get_field("tokenizer.ggml.pre").contents() == "smollm"


def test_a_window_of_all_layers_is_the_context(tmp_path: Path) -> None:
    saved_model(tmp_path / "model", "mistral")
    assert GGUFReader(exported(tmp_path / "model")).get_field("llama.context_length").contents() == 128


def test_a_tied_head_is_not_written(tmp_path: Path) -> None:
    saved_model(tmp_path / "tied", "llama")
    saved_model(tmp_path / "untied", "llama3")
    assert "output.weight" not in kinds(exported(tmp_path / "tied"))
    assert "output.weight" in kinds(exported(tmp_path / "untied"))


def change(folder: Path, **values: object) -> None:
    """Save a Llama whose configuration says something else."""
    config = LlamaConfig(**CONFIGURATIONS["llama"].to_dict() | values)
    served_model(config).save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)


def test_what_llama_cpp_would_compute_otherwise_is_refused(tmp_path: Path) -> None:
    change(tmp_path / "gelu", hidden_act="gelu")
    with refused("hidden_act", "gelu", "silu"):
        exported(tmp_path / "gelu")
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 64}
    change(tmp_path / "yarn", rope_parameters=yarn)
    with refused("yarn", "linear"):
        exported(tmp_path / "yarn")
    for name, value in (("layer_types", ["full_attention"] * 7), ("query_pre_attn_scalar", 16)):
        config = CONFIGURATIONS["gemma3"].__class__(**CONFIGURATIONS["gemma3"].to_dict() | {name: value})
        served_model(config).save_pretrained(tmp_path / name)
        byte_level_tokenizer().save_pretrained(tmp_path / name)
        with refused(name):
            exported(tmp_path / name)


def test_another_family_is_one_sentence(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tiny_model("opt").save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    with refused("opt", "dense"):
        exported(tmp_path / "model")
    assert not list(tmp_path.glob("*.gguf"))


def test_damaged_checkpoints_are_one_sentence(tmp_path: Path) -> None:
    saved_model(tmp_path / "model", "llama")
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(weights | {"model.layers.1.extra.weight": torch.ones(2, 2)}, file, {"format": "pt"})
    with refused("model.layers.1.extra.weight"):
        exported(tmp_path / "model")
    save_file({key: weight for key, weight in weights.items() if key != name}, file, {"format": "pt"})
    with refused(name):
        exported(tmp_path / "model")
    weights[name][0, 0] = float("nan")
    save_file(weights, file, {"format": "pt"})
    with refused(name):
        exported(tmp_path / "model")
