"""A pruned checkpoint has the dtypes of the dense one, its zeros, and its other weights bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from optishear.models.layers import prunable_layers
from optishear.models.load import LoadedModel, load_model
from optishear.models.stored_dtype import stored_dtypes
from optishear.pruning.apply import apply_recipe
from optishear.pruning.checkpoint import measured_sparsity, save_checkpoint
from optishear.recipes.recipe import named_recipe
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration
from wording import refused

RECIPE = named_recipe("wanda", "0.5")
STORED = [torch.float32, torch.bfloat16, torch.float16]
WORKING = ["float32", "bfloat16", "float16"]


@pytest.fixture
def store(model_folder: Path) -> Callable[[torch.dtype], dict[str, Tensor]]:
    """Stores the tiny Llama in a dtype, with a weight next to zero in each layer; returns its tensors."""

    def in_dtype(dtype: torch.dtype) -> dict[str, Tensor]:
        model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
        with torch.no_grad():
            for layer in prunable_layers(model):
                layer.module.weight[0, 0] = 1e-9
        model.to(dtype).save_pretrained(model_folder)
        return load_file(model_folder / "model.safetensors")

    return in_dtype


def pruned(folder: Path, working: str) -> LoadedModel:
    loaded = load_model(str(folder), dtype=working, device="cpu")
    statistics = collect_statistics(loaded.model, random_calibration(), progress=False)
    apply_recipe(loaded.model, RECIPE, statistics)
    return loaded


@pytest.mark.parametrize("working", WORKING)
@pytest.mark.parametrize("stored", STORED)
def test_zeros_and_kept_weights_are_exact(
    model_folder: Path,
    tmp_path: Path,
    store: Callable[[torch.dtype], dict[str, Tensor]],
    stored: torch.dtype,
    working: str,
) -> None:
    dense = store(stored)
    loaded = pruned(model_folder, working)
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}

    save_checkpoint(tmp_path / "pruned", loaded.model, loaded.tokenizer, RECIPE, "")

    written = load_file(tmp_path / "pruned" / "model.safetensors")
    assert {name: tensor.dtype for name, tensor in written.items()} == dict.fromkeys(dense, stored)
    layers = {f"{layer.name}.weight" for layer in prunable_layers(loaded.model)}
    for name, tensor in written.items():
        zeros = before[name] == 0 if name in layers else torch.zeros_like(tensor, dtype=torch.bool)
        assert torch.equal(tensor, dense[name].masked_fill(zeros, 0)), name
    zeros = sum(int((before[name] == 0).sum()) for name in layers)
    total = sum(before[name].numel() for name in layers)
    assert measured_sparsity(tmp_path / "pruned", loaded.model).prunable == zeros / total
    config = json.loads((tmp_path / "pruned" / "config.json").read_text())
    assert config["dtype"] == str(stored).removeprefix("torch.")


@pytest.mark.parametrize("working", WORKING)
@pytest.mark.parametrize("stored", STORED)
def test_the_model_is_as_it_was_afterwards(
    model_folder: Path,
    tmp_path: Path,
    store: Callable[[torch.dtype], dict[str, Tensor]],
    stored: torch.dtype,
    working: str,
) -> None:
    store(stored)
    loaded = pruned(model_folder, working)
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}

    save_checkpoint(tmp_path / "pruned", loaded.model, loaded.tokenizer, RECIPE, "")

    after = loaded.model.state_dict()
    assert all(tensor.dtype == loaded.precision.torch_dtype for tensor in after.values())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight


@pytest.mark.parametrize("working", WORKING)
def test_changed_weights_are_rounded_to_the_stored_dtype(
    model_folder: Path, tmp_path: Path, store: Callable[[torch.dtype], dict[str, Tensor]], working: str
) -> None:
    dense = store(torch.bfloat16)
    loaded = load_model(str(model_folder), dtype=working, device="cpu")
    layer = prunable_layers(loaded.model)[0]
    with torch.no_grad():
        layer.module.weight[0, 1] = 1.2345678
        layer.module.weight[0, 2] = 0

    save_checkpoint(tmp_path / "pruned", loaded.model, loaded.tokenizer, RECIPE, "")

    written = load_file(tmp_path / "pruned" / "model.safetensors")[f"{layer.name}.weight"]
    changed = written != dense[f"{layer.name}.weight"]
    changed[0, 0] = False  # a zero in float16, and so taken for a pruned weight
    assert changed.nonzero().tolist() == [[0, 1], [0, 2]]
    assert written[0, 1] == layer.module.weight[0, 1].bfloat16()
    assert written[0, 2] == 0


def test_each_tensor_has_its_own_dtype(
    model_folder: Path, tmp_path: Path, store: Callable[[torch.dtype], dict[str, Tensor]]
) -> None:
    dense = store(torch.bfloat16)
    name = "model.norm.weight"
    mixed = {**dense, name: torch.full_like(dense[name], 1 / 3, dtype=torch.float32)}
    save_file(mixed, model_folder / "model.safetensors", {"format": "pt"})
    found = stored_dtypes(model_folder)
    assert found is not None
    assert (found.main, found.of(name), found.of("another")) == (torch.bfloat16, torch.float32, torch.bfloat16)

    for working in ("float32", "bfloat16"):
        loaded = load_model(str(model_folder), dtype=working, device="cpu")
        save_checkpoint(tmp_path / working, loaded.model, loaded.tokenizer, RECIPE, "")
        written = load_file(tmp_path / working / "model.safetensors")
        assert all(torch.equal(written[each], tensor) for each, tensor in mixed.items()), working
        assert all(written[each].dtype == tensor.dtype for each, tensor in mixed.items()), working


def test_a_number_beyond_the_stored_dtype_is_refused(
    model_folder: Path, tmp_path: Path, store: Callable[[torch.dtype], dict[str, Tensor]]
) -> None:
    store(torch.float16)
    loaded = load_model(str(model_folder), dtype="float32", device="cpu")
    with torch.no_grad():
        loaded.model.model.layers[1].mlp.down_proj.weight[0, 0] = 70_000

    with refused("model.layers.1.mlp.down_proj.weight", "float16"):
        save_checkpoint(tmp_path / "pruned", loaded.model, loaded.tokenizer, RECIPE, "")
    assert not (tmp_path / "pruned").exists()
    assert loaded.model.model.layers[1].mlp.down_proj.weight[0, 0] == 70_000
