import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.modeling_utils import PreTrainedModel

from families.families import family_model as model_of
from optishear.errors import InputError
from optishear.models.devices import resolve_device
from optishear.models.load import load_model
from tiny import tiny_model
from wording import refused


def test_loads_every_family(
    tmp_path: Path, family_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    family_model.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    tokens = torch.arange(4, 24).reshape(2, 10)

    loaded = load_model(str(tmp_path), device="cpu")

    assert torch.equal(loaded.model(tokens).logits, family_model(tokens).logits)
    assert loaded.tokenizer("that")["input_ids"] == tiny_tokenizer("that")["input_ids"]
    assert loaded.source.location == str(tmp_path)


def test_the_model_only_looks_forward(model_folder: Path) -> None:
    model = load_model(str(model_folder), device="cpu").model

    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model(torch.tensor([[1, 2]])).past_key_values is None


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_what_is_fast_on_the_device_whatever_the_checkpoint_has(
    model_folder: Path, processor: Callable[..., None], stored: torch.dtype, native: bool, dtype: torch.dtype
) -> None:
    AutoModelForCausalLM.from_pretrained(model_folder, dtype=stored).save_pretrained(model_folder)
    processor(native=native, bfloat16_time=0.5 if native else 8.0)

    loaded = load_model(str(model_folder), device="cpu")

    assert loaded.model.dtype == loaded.precision.torch_dtype == dtype


def test_a_dtype_that_is_asked_for(model_folder: Path) -> None:
    assert load_model(str(model_folder), dtype="bfloat16", device="cpu").model.dtype == torch.bfloat16


def test_is_silent(model_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(str(model_folder), device="cpu")

    assert capfd.readouterr() == ("", "")


def test_an_unknown_dtype(model_folder: Path) -> None:
    with refused("int8", "auto", "float32"):
        load_model(str(model_folder), dtype="int8")


@pytest.mark.parametrize("device", ["tpu", "", "cuda:x", "cuda:", "cuda:-1", "meta"])
def test_an_unknown_device(device: str) -> None:
    with refused(repr(device), "auto", "cpu", "cuda", "cuda:N"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_a_gpu_that_is_not_there(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    with refused(repr(device), "no GPUs", "cpu"):
        resolve_device(device)


def test_one_gpu_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with refused("cuda:2", "cuda:0", "cuda:1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(("available", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, available: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)

    assert resolve_device("auto") == torch.device(device)


def test_a_device_is_checked_before_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="device"):
        load_model("/no/such/folder", device="tpu")


@pytest.mark.parametrize(
    "model",
    [
        BertForMaskedLM(
            BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8, vocab_size=16)
        ),
        T5ForConditionalGeneration(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=16)),
    ],
    ids=["masked", "encoder-decoder"],
)
def test_a_model_that_is_not_causal(
    tmp_path: Path, model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)

    with refused(type(model).__name__, "causal"):
        load_model(str(tmp_path), device="cpu")


def test_a_classifier_of_a_causal_family(model_folder: Path, tiny_llama: PreTrainedModel) -> None:
    LlamaForSequenceClassification(tiny_llama.config).save_pretrained(model_folder)

    with refused("LlamaForSequenceClassification", "causal"):
        load_model(str(model_folder), device="cpu")


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_a_quantized_model(model_folder: Path, key: str) -> None:
    _change_config(model_folder, **{key: {"quant_method": "gptq", "bits": 4}})

    with refused("gptq"):
        load_model(str(model_folder), device="cpu")


def test_a_missing_tokenizer(tmp_path: Path, family_model: PreTrainedModel) -> None:
    family_model.save_pretrained(tmp_path)

    with pytest.raises(InputError, match=r"has no tokenizer.*tokenizer.json"):
        load_model(str(tmp_path), device="cpu")


@pytest.mark.parametrize("change", [{"num_hidden_layers": 3}, {"intermediate_size": 32}], ids=["missing", "shape"])
def test_weights_that_do_not_fit_the_config(model_folder: Path, change: dict[str, int]) -> None:
    _change_config(model_folder, **change)

    with pytest.raises(InputError, match=r"is not whole: the weight 'model.layers"):
        load_model(str(model_folder), device="cpu")


@pytest.mark.parametrize(
    ("saved", "change", "first", "count"),
    [
        ({"attention_bias": True}, {"attention_bias": False}, "model.layers.0.self_attn.k_proj.bias", 8),
        ({"num_hidden_layers": 4}, {"num_hidden_layers": 2}, "model.layers.2.input_layernorm.weight", 18),
    ],
    ids=["biases", "layers"],
)
def test_weights_that_the_config_does_not_know(
    model_folder: Path, saved: dict[str, object], change: dict[str, object], first: str, count: int
) -> None:
    _change_config(model_folder, **saved)
    config = AutoConfig.from_pretrained(model_folder)
    AutoModelForCausalLM.from_config(config).save_pretrained(model_folder)
    load_model(str(model_folder), device="cpu")
    _change_config(model_folder, **change)

    with refused(first, count, "config.json"):
        load_model(str(model_folder), device="cpu")


def test_a_checkpoint_of_another_family(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    _change_config(tmp_path, model_type="llama", architectures=["LlamaForCausalLM"])

    with refused("model.layers.0.self_attn.k_proj.bias", 6):
        load_model(str(tmp_path), device="cpu")


@pytest.mark.parametrize("key", ["model.layers.0.self_attn.q_proj.lora_A.weight", "model.layers.1.extra_norm.weight"])
def test_an_unknown_weight(model_folder: Path, key: str) -> None:
    _add_weight(model_folder, key)

    with refused(key, 1, "adapter" if "lora" in key else "remove"):
        load_model(str(model_folder), device="cpu")


@pytest.mark.parametrize("key", ["model.rotary_emb.inv_freq", "model.layers.0.self_attn.rotary_emb.inv_freq"])
def test_a_weight_that_the_model_computes_may_be_in_the_files(model_folder: Path, key: str) -> None:
    before = load_model(str(model_folder), dtype="float32", device="cpu").model
    _add_weight(model_folder, key)

    after = load_model(str(model_folder), dtype="float32", device="cpu").model

    tokens = torch.arange(4, 24)[None]
    assert torch.equal(after(tokens).logits, before(tokens).logits)


def test_layers_for_multi_token_prediction_may_be_in_the_files(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model_of("ernie4_5_moe").save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    _add_weight(tmp_path, "model.mtp_block.0.mlp.down_proj.weight")

    load_model(str(tmp_path), device="cpu")


def test_an_adapter_beside_the_weights(model_folder: Path) -> None:
    (model_folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))

    with refused("adapter_config.json", "merge"):
        load_model(str(model_folder), device="cpu")


def test_cut_off_weights(model_folder: Path) -> None:
    weights = model_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    with refused("weights", model_folder):
        load_model(str(model_folder), device="cpu")


@pytest.mark.parametrize("content", ["{", "{}", '{"model_type": "no-such-type"}'])
def test_a_config_that_cannot_be_read(model_folder: Path, content: str) -> None:
    (model_folder / "config.json").write_text(content)

    with refused("configuration", model_folder):
        load_model(str(model_folder), device="cpu")


@pytest.mark.parametrize(
    ("file", "change", "part"),
    [
        ("tokenizer.json", {"pre_tokenizer": {"type": "FutureSplit"}}, "tokenizer"),
        ("config.json", {"num_attention_heads": 5}, "configuration"),
        ("config.json", {"hidden_size": "32"}, "configuration"),
        ("config.json", {"rope_scaling": {"type": "su", "factor": 4.0}}, None),
        ("config.json", {"hidden_act": "newgelu"}, None),
    ],
)
def test_files_that_the_libraries_do_not_understand(
    model_folder: Path, file: str, change: dict[str, object], part: str | None
) -> None:
    path = model_folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with refused(model_folder, *([part] if part else [])):
        load_model(str(model_folder), device="cpu")


def test_code_of_the_checkpoint_needs_trust(model_folder: Path) -> None:
    _change_config(model_folder, model_type="own", auto_map={"AutoConfig": "own.Config"})
    (model_folder / "own.py").write_text("raise RuntimeError('ran')\n")

    with pytest.raises(InputError, match="set trust_remote_code"):
        load_model(str(model_folder), device="cpu")


def _add_weight(folder: Path, key: str) -> None:
    file = folder / "model.safetensors"
    save_file(load_file(file) | {key: torch.ones(4)}, file, {"format": "pt"})


def _change_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
