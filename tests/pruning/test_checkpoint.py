import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.models.layers import prunable_layers
from optishear.models.load import load_model
from optishear.pruning.checkpoint import check_replaceable, measured_sparsity, save_checkpoint
from optishear.recipes.recipe import Recipe, named_recipe
from tiny import tiny_model
from wording import refused

RECIPE = named_recipe("wanda", 0.5)


def prune_randomly(model: PreTrainedModel, share: float = 0.5) -> float:
    """Set about this share of the prunable weights to zero; returns the exact share."""
    zeros = total = 0
    with torch.no_grad():
        for layer in prunable_layers(model):
            mask = torch.rand_like(layer.module.weight, dtype=torch.float32) < share
            layer.module.weight.masked_fill_(mask, 0)
            zeros += int(mask.sum())
            total += mask.numel()
    return zeros / total


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transformers_loads_identical_weights(
    tmp_path: Path, family_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype
) -> None:
    family_model.to(dtype)
    prune_randomly(family_model)
    save_checkpoint(tmp_path / "model", family_model, tiny_tokenizer, RECIPE, "# card\n")

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")

    expected = family_model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())
    assert loaded.dtype == dtype
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")


def test_the_measured_sparsity_is_exact(
    tmp_path: Path, family_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    share = prune_randomly(family_model)
    save_checkpoint(tmp_path / "model", family_model, tiny_tokenizer, RECIPE, "")

    assert measured_sparsity(tmp_path / "model", family_model).prunable == share


def test_the_measured_sparsity_over_several_files(tmp_path: Path, family_model: PreTrainedModel) -> None:
    share = prune_randomly(family_model)
    family_model.save_pretrained(tmp_path, max_shard_size="20KB")

    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert measured_sparsity(tmp_path, family_model).prunable == share


@pytest.mark.parametrize("longer", [True, False], ids=["more of a prefix", "less of a prefix"])
def test_keys_with_another_prefix(tmp_path: Path, family_model: PreTrainedModel, longer: bool) -> None:
    share = prune_randomly(family_model)
    family_model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    renamed = {f"outer.{key}" if longer else key.removeprefix("model."): value for key, value in weights.items()}
    save_file(renamed, tmp_path / "model.safetensors")

    assert measured_sparsity(tmp_path, family_model).prunable == share


def test_a_layer_that_the_checkpoint_does_not_have(tmp_path: Path, tiny_llama: PreTrainedModel) -> None:
    tiny_llama.save_pretrained(tmp_path)

    with refused("model.layers.2.self_attn.q_proj.weight"):
        measured_sparsity(tmp_path, tiny_model(layers=3))


def test_tied_weights_are_written_once(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    save_checkpoint(tmp_path / "model", tiny_llama, tiny_tokenizer, RECIPE, "")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")

    assert "lm_head.weight" not in load_file(tmp_path / "model" / "model.safetensors")
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_holds_all_that_a_checkpoint_needs(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = tmp_path / "model"
    save_checkpoint(folder, tiny_llama, tiny_tokenizer, RECIPE, "# card\n")

    assert Recipe.load(folder / "recipe.yaml") == RECIPE
    assert (folder / "README.md").read_text() == "# card\n"
    assert (folder / "generation_config.json").is_file()
    assert AutoTokenizer.from_pretrained(folder)("the hat").input_ids == tiny_tokenizer("the hat").input_ids
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_no_path_of_the_machine_gets_in(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_llama.save_pretrained(tmp_path / "dense")
    tiny_tokenizer.save_pretrained(tmp_path / "dense")
    loaded = load_model(str(tmp_path / "dense"), device="cpu")
    save_checkpoint(tmp_path / "model", loaded.model, loaded.tokenizer, RECIPE, "")

    for file in (tmp_path / "model").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name


def test_the_saved_model_generates_with_its_cache(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_llama.config.use_cache = False
    save_checkpoint(tmp_path / "model", tiny_llama, tiny_tokenizer, RECIPE, "")

    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").config.use_cache is True
    assert tiny_llama.config.use_cache is False


def test_all_may_read_what_the_umask_lets_them(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    before = os.umask(0o022)
    try:
        save_checkpoint(tmp_path / "model", tiny_llama, tiny_tokenizer, RECIPE, "")
    finally:
        os.umask(before)

    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "model").iterdir()} == {0o644}


def test_is_silent(
    tmp_path: Path,
    tiny_llama: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    capfd: pytest.CaptureFixture[str],
) -> None:
    save_checkpoint(tmp_path / "model", tiny_llama, tiny_tokenizer, RECIPE, "")

    assert capfd.readouterr() == ("", "")


def test_a_failure_leaves_the_old_checkpoint(
    tmp_path: Path,
    tiny_llama: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_checkpoint(tmp_path / "model", tiny_llama, tiny_tokenizer, RECIPE, "old")

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(tiny_tokenizer, "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path / "model", tiny_llama, tiny_tokenizer, RECIPE, "new")

    assert (tmp_path / "model" / "README.md").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_replaces_an_older_pruned_model(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    save_checkpoint(tmp_path / "model", tiny_llama, tiny_tokenizer, RECIPE, "old")
    (tmp_path / "model" / "left-over").touch()
    save_checkpoint(tmp_path / "model", tiny_llama, tiny_tokenizer, RECIPE, "new")

    assert (tmp_path / "model" / "README.md").read_text() == "new"
    assert not (tmp_path / "model" / "left-over").exists()


def test_never_replaces_the_dense_model(
    tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_llama.save_pretrained(tmp_path)

    with pytest.raises(InputError, match="holds something else already"):
        save_checkpoint(tmp_path, tiny_llama, tiny_tokenizer, RECIPE, "")
    assert (tmp_path / "model.safetensors").is_file()


def test_what_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()

    check_replaceable(tmp_path / "none")
    check_replaceable(tmp_path / "empty")
    with pytest.raises(InputError, match="name another output folder"):
        check_replaceable(tmp_path / "file")
