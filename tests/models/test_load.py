import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.models.load import load_model, resolve_device
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


def test_a_quantized_model(model_folder: Path) -> None:
    _change_config(model_folder, quantization_config={"quant_method": "gptq", "bits": 4})

    with pytest.raises(InputError, match=r"is quantized \(gptq\)"):
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


def test_code_of_the_checkpoint_needs_trust(model_folder: Path) -> None:
    _change_config(model_folder, model_type="own", auto_map={"AutoConfig": "own.Config"})
    (model_folder / "own.py").write_text("raise RuntimeError('ran')\n")

    with pytest.raises(InputError, match="set trust_remote_code"):
        load_model(str(model_folder), device="cpu")


def _change_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
