"""`optishear export --format fp8-2of4`: bfloat16 weights of which torchao makes FP8 with 2:4 on a GPU."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MixtralConfig

import optishear
from flows.command_line.main import main
from optishear.models.layers import prunable_layers
from optishear.parameters.proof import ProveParameters
from optishear.pruning.checkpoint import CARD_FILE
from optishear.serving.export import export_model
from optishear.serving.fp8_values import Fp8Linear
from optishear.serving.proof import prove
from served_models import byte_level_tokenizer, served_model
from wording import refused

torchao = pytest.importorskip("torchao", reason="torchao is not installed: pip install 'optishear[torchao]'")

from torchao.core.config import config_from_dict  # noqa: E402
from torchao.float8.inference import Float8MMConfig  # noqa: E402
from torchao.quantization import Float8Tensor, PerRow  # noqa: E402
from torchao.quantization.quantize_.workflows import QuantizeTensorToFloat8Kwargs  # noqa: E402
from torchao.quantization.quantize_.workflows.float8 import (  # noqa: E402
    float8_sparse_2x4_2d_data_2d_metadata_tensor as sparse_tensors,
)

# All matrices fit the sparse kernel but those of keys and values, [32, 128].
CONFIG = LlamaConfig(
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    vocab_size=320,
    max_position_embeddings=256,
)
ROOT = Path(__file__).resolve().parents[2]
DENSE = "model.layers.1.mlp.down_proj"


def two_of_four(weight: Tensor) -> Tensor:
    """The weight [out, in] with the two smallest of each four consecutive inputs zero."""
    groups = weight.reshape(-1, 4)
    smallest = groups.abs().topk(2, dim=1, largest=False).indices
    return groups.scatter(1, smallest, 0.0).reshape(weight.shape)


def pruned(folder: Path, config: LlamaConfig = CONFIG, dense: tuple[str, ...] = (DENSE,)) -> Path:
    """A checkpoint in float32 with the pattern 2:4 in all layers but some."""
    model = served_model(config)
    with torch.no_grad():
        for layer in prunable_layers(model):
            if layer.name not in dense:
                layer.module.weight.copy_(two_of_four(layer.module.weight))
    model.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return folder


def exported(tmp_path: Path, config: LlamaConfig = CONFIG, dense: tuple[str, ...] = (DENSE,)) -> Path:
    folder = tmp_path / "served" / "model"
    folder.parent.mkdir()
    export_model(pruned(tmp_path / "pruned", config, dense), folder, "fp8-2of4", "bf16", "tiny")
    return folder


def listed(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((folder / "fp8-layers.json").read_text())
    return found


def config_of(folder: Path, name: str) -> object | None:
    """What vLLM's TorchAOConfig.get_quant_method finds for a layer in the file that hf_overrides names."""
    configs = config_from_dict(json.loads((folder / "torchao.json").read_text())).module_fqn_to_config
    assert "_default" not in configs
    return next((config for key, config in configs.items() if re.fullmatch(key.removeprefix("re:"), name)), None)


def packing_of(folder: Path, name: str) -> str:
    config = config_of(folder, name)
    return "bfloat16" if config is None else config.packing_format.value


def compress(quantized: Tensor) -> tuple[Tensor, Tensor]:
    """CUTLASS's compressor for 8 bits: the kept values, and four bits for each group, with the bounds of the kernel."""
    rows, columns = quantized.shape
    # What the compressor pads to, and what rowwise_scaled_linear_sparse_cutlass expects, have to be the same.
    assert (-(-rows // 64) * 64, -(-columns // 128) * 16) == (max(rows, 64), max(columns // 8, 16))
    groups = quantized.view(torch.uint8).view(rows, -1, 4)
    kept = groups.view(torch.float8_e4m3fn).float() != 0
    assert int(kept.sum(dim=2).max()) <= 2
    # Those that are kept first; where fewer are, zeros.
    places = (~kept).to(torch.uint8).argsort(dim=2, stable=True)[..., :2].sort(dim=2).values
    values = groups.gather(2, places).view(rows, columns // 2)
    bits = (places[..., 0] | (places[..., 1] << 2)).view(rows, -1, 2)
    return values.view(torch.float8_e4m3fn), (bits[..., 0] | (bits[..., 1] << 4)).to(torch.uint8)


def decompress(values: Tensor, metadata: Tensor) -> Tensor:
    """The matrix in FP8 that such values and bits stand for."""
    rows = values.shape[0]
    bits = torch.stack([metadata & 15, metadata >> 4], dim=2).view(rows, -1)
    places = torch.stack([bits & 3, bits >> 2], dim=2).long()
    groups = torch.zeros(rows, places.shape[1], 4, dtype=torch.uint8)
    groups.scatter_(2, places, values.view(torch.uint8).view(rows, -1, 2))
    return groups.view(rows, -1).view(torch.float8_e4m3fn)


def test_the_weights_are_the_pruned_ones_in_bfloat16(tmp_path: Path) -> None:
    folder = exported(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    source = load_file(tmp_path / "pruned" / "model.safetensors")
    written = load_file(folder / "model.safetensors")
    assert written.keys() == source.keys()
    for name, weight in source.items():
        assert torch.equal(written[name], weight.to(torch.bfloat16))
        assert torch.equal(written[name] == 0, weight == 0)
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".md", ".jinja"}
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())


def test_torchao_makes_fp8_with_2_of_4_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchao's own code but for the two kernels, which a CPU does not have: values, zeros and layout."""
    monkeypatch.setattr(sparse_tensors, "is_sm_at_least_90", lambda: True)
    monkeypatch.setattr(sparse_tensors, "to_sparse_semi_structured_cutlass_sm9x_f8", compress)
    folder = exported(tmp_path)
    layers, written = listed(folder), load_file(folder / "model.safetensors")
    assert len(layers["sparse"]) == 13
    for name in layers["sparse"]:
        weight = written[f"{name}.weight"]
        config = config_of(folder, name)
        packed = sparse_tensors.Float8Sparse2x4_2DData2DMetadataTensor.from_hp(
            weight, float8_dtype=config.weight_dtype, granularity=config.granularity[1]
        )
        assert packed.shape == weight.shape
        assert packed.qdata.numel() * 2 == weight.numel()
        assert packed.sparse_metadata.numel() * 8 == weight.numel()
        back = decompress(packed.qdata, packed.sparse_metadata)
        reference = Float8Tensor.from_hp(weight, granularity=PerRow())
        assert torch.equal(back.float(), reference.qdata.float())
        values = back.float() * packed.scale
        assert torch.equal(values.to(torch.bfloat16), reference.dequantize())
        assert torch.equal(values == 0, weight == 0)
        # Three bits of the mantissa, below which rounding to the nearest is off by a 16th at most.
        assert ((values - weight.float()).abs() <= weight.float().abs() / 15 + packed.scale * 2**-9).all()


def test_what_was_left_dense_is_dense_fp8(tmp_path: Path) -> None:
    folder = exported(tmp_path)
    assert listed(folder)["dense"] == [DENSE]
    assert packing_of(folder, DENSE) == "plain"
    assert packing_of(folder, "model.layers.0.mlp.down_proj") == "sparse_2d_data_2d_metadata"


def test_vllm_finds_its_joined_layers(tmp_path: Path) -> None:
    folder = exported(tmp_path, dense=("model.layers.1.self_attn.k_proj", "model.layers.0.mlp.up_proj"))
    # Of one layer one part is dense, so that the whole is.
    assert packing_of(folder, "model.layers.0.self_attn.qkv_proj") == "sparse_2d_data_2d_metadata"
    assert packing_of(folder, "model.layers.1.self_attn.qkv_proj") == "plain"
    assert packing_of(folder, "model.layers.0.mlp.gate_up_proj") == "plain"
    assert packing_of(folder, "model.layers.1.mlp.gate_up_proj") == "sparse_2d_data_2d_metadata"
    assert "model.layers.1.self_attn.q_proj" in listed(folder)["dense"]
    assert "model.layers.1.self_attn.q_proj" in listed(folder)["unfit"]


@pytest.mark.parametrize("name", ["lm_head", "model.embed_tokens", "model.norm", "model.layers.10.mlp.down_proj"])
def test_other_layers_stay_in_bfloat16(tmp_path: Path, name: str) -> None:
    assert packing_of(exported(tmp_path), name) == "bfloat16"


def test_sizes_that_the_sparse_kernel_refuses_are_dense(tmp_path: Path) -> None:
    sizes = CONFIG.to_dict() | {"hidden_size": 96, "intermediate_size": 128, "head_dim": 24}
    folder = exported(tmp_path, LlamaConfig(**sizes), dense=())
    layers = listed(folder)
    # [96, 128] has rows that CUTLASS pads, [128, 96] columns.
    assert layers["sparse"] == []
    assert layers["unfit"] == layers["dense"]
    assert packing_of(folder, "model.layers.0.mlp.gate_up_proj") == "plain"


def test_a_row_of_zeros_keeps_a_layer_out_of_fp8(tmp_path: Path) -> None:
    """torchao divides such a row by its scale, which is zero."""
    source = pruned(tmp_path / "pruned")
    model = AutoModelForCausalLM.from_pretrained(source)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[5] = 0
    model.save_pretrained(source)
    export_model(source, tmp_path / "served", "fp8-2of4", "bf16", "tiny")
    names = ["model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj"]
    assert listed(tmp_path / "served")["bfloat16"] == names
    assert packing_of(tmp_path / "served", "model.layers.0.mlp.gate_up_proj") == "bfloat16"


def test_unstructured_sparsity_is_refused(tmp_path: Path) -> None:
    model = served_model(CONFIG)
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in prunable_layers(model):
            layer.module.weight[torch.rand_like(layer.module.weight) < 0.5] = 0
    model.save_pretrained(tmp_path / "half")
    with refused("model.layers.0.self_attn.q_proj", "fp8-2of4", "2:4"):
        export_model(tmp_path / "half", tmp_path / "served", "fp8-2of4", "bf16", "tiny")
    assert not (tmp_path / "served").exists()


@pytest.mark.parametrize(
    ("config", "layer"),
    [
        (GPT2Config(n_embd=128, n_layer=1, n_head=2, vocab_size=320), "transformer.h.0.attn.c_attn"),
        (
            MixtralConfig(**CONFIG.to_dict() | {"num_local_experts": 2, "model_type": "mixtral"}),
            "model.layers.0.mlp.experts.gate_up_proj.0",
        ),
    ],
)
def test_other_kinds_of_layers_are_refused(tmp_path: Path, config: LlamaConfig, layer: str) -> None:
    served_model(config).save_pretrained(tmp_path / "other")
    with refused(layer, "fp8-2of4"):
        export_model(tmp_path / "other", tmp_path / "served", "fp8-2of4", "bf16", "tiny")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    source = pruned(tmp_path / "pruned")
    model = AutoModelForCausalLM.from_pretrained(source)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[5, 5] = float("inf")
    model.save_pretrained(source)
    with refused("model.layers.0.mlp.up_proj.weight"):
        export_model(source, tmp_path / "served", "fp8-2of4", "bf16", "tiny")


def test_the_missing_extra_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pruned(tmp_path / "pruned")
    monkeypatch.setitem(sys.modules, "torchao", None)
    with refused("torchao", "optishear[torchao]"):
        export_model(source, tmp_path / "served", "fp8-2of4", "bf16", "tiny")
    assert not (tmp_path / "served").exists()


def test_an_export_can_be_exported_again(tmp_path: Path) -> None:
    folder = exported(tmp_path)
    export_model(folder, tmp_path / "dense", "dense", "bf16", "tiny")
    names = {path.name for path in (tmp_path / "dense").iterdir()}
    assert not names & {"torchao.json", "fp8-layers.json"}
    model = optishear.load_model(str(tmp_path / "dense"), device="cpu").model
    assert float((model.model.layers[0].mlp.up_proj.weight == 0).float().mean()) == 0.5


def test_the_command_says_how_layers_run(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = pruned(tmp_path / "pruned")
    from optishear.pruning.card import _SIZES, _USES

    (source / CARD_FILE).write_text(f"# Tiny\n\n{_USES['dense']}\n\n{_SIZES['dense']}\n")
    main(["export", "--model", str(source), "--format", "fp8-2of4", "--output", str(tmp_path / "served")])
    printed = capsys.readouterr().out
    assert "fp8-2of4" in printed
    assert re.search(r"\b13\b.*\b1\b", printed)
    card = (tmp_path / "served" / "model" / CARD_FILE).read_text()
    assert "--quantization torchao" in card
    assert '{"quantization_config_file": "path/to/this/folder/torchao.json"}' in card


def test_prove_compares_values_and_claims_nothing(tmp_path: Path) -> None:
    found = prove(ProveParameters(folder=exported(tmp_path).parent, prompt_tokens=24, new_tokens=4, rounds=1))
    assert (found.format, found.pruned_layers, found.sparse_layers) == ("fp8-2of4", 13, 0)
    assert 0 < found.divergence < 1
    assert torchao.__version__ in found.export.engine
    assert not found.faster
    assert "aster here" not in found.verdict


@pytest.mark.parametrize("bias", [False, True])
def test_values_are_those_of_torchaos_linear_layer(bias: bool) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(128, 64, bias=bias).to(torch.bfloat16)
    x = torch.randn(2, 5, 128, dtype=torch.bfloat16)
    rows = QuantizeTensorToFloat8Kwargs(torch.float8_e4m3fn, PerRow())
    weight = Float8Tensor.from_hp(
        linear.weight.detach(), granularity=PerRow(), act_quant_kwargs=rows, mm_config=Float8MMConfig()
    )
    with torch.no_grad():
        expected = torch.nn.functional.linear(x, weight)
        expected = expected + linear.bias if bias else expected
        found = Fp8Linear(linear)(x)
    assert found.dtype == torch.bfloat16
    # The sum is rounded to bfloat16 here before it is scaled, and there after.
    assert torch.allclose(found.float(), expected.float(), rtol=2**-6, atol=2**-7)
    assert not torch.equal(found, linear(x))


def test_torchao_does_not_warn_in_every_command() -> None:
    """transformers imports it wherever it is installed."""
    code = "import optishear, transformers.modeling_utils, sys; print('torchao' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "True"
    assert result.stderr == ""


def test_prove_needs_the_list_of_layers(tmp_path: Path) -> None:
    folder = exported(tmp_path)
    (folder / "fp8-layers.json").unlink()
    with refused("fp8-layers.json"):
        prove(ProveParameters(folder=folder))
