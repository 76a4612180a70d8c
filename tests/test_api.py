"""The library on models in memory."""

import pytest
import torch
from transformers import PreTrainedTokenizerBase

import optishear
from optishear.models.layers import prunable_layers
from optishear.recipe import named_recipe
from tiny import random_calibration, tiny_model


def test_search_and_prune(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    model = tiny_model()
    recipe = optishear.search(
        model, tiny_tokenizer, sparsity=0.5, sequences=4, sequence_length=32, trials=12, progress=False
    )
    assert isinstance(recipe, optishear.Recipe)
    summary = optishear.prune(model, recipe, calibration=random_calibration(), progress=False)
    zeros = sum(int((layer.module.weight == 0).sum()) for layer in prunable_layers(model))
    total = sum(layer.module.weight.numel() for layer in prunable_layers(model))
    assert zeros / total == summary.achieved_sparsity == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("sparsity", ["0.5", "2:4", "4:8", "1:4"])
@pytest.mark.parametrize("name", ["magnitude", "wanda", "ria"])
def test_published_recipes_on_every_family(family: str, name: str, sparsity: str) -> None:
    model = tiny_model(family)
    recipe = named_recipe(name, sparsity)
    summary = optishear.prune(model, recipe, calibration=random_calibration(), progress=False)
    assert summary.achieved_sparsity == pytest.approx(recipe.pattern.sparsity, abs=0.001)
    assert torch.isfinite(model(random_calibration().tokens).logits).all()
    group = recipe.pattern.group
    if group is not None:
        for layer in prunable_layers(model):
            kept = (layer.module.weight != 0).reshape(-1, group).sum(dim=1)
            assert (kept <= recipe.pattern.kept).all()


def test_bad_input_is_told_before_anything_is_done(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(optishear.InputError, match="no parameter 'trails'"):
        optishear.search(tiny_model(), tiny_tokenizer, trails=3)
    with pytest.raises(optishear.InputError, match="neither a fraction"):
        optishear.search(tiny_model(), tiny_tokenizer, sparsity=1.2)
    model = tiny_model()
    before = model.state_dict()["model.layers.0.mlp.up_proj.weight"].clone()
    with pytest.raises(optishear.InputError, match="3:5 does not divide the 32 inputs"):
        optishear.prune(model, "wanda", "3:5", calibration=random_calibration(), progress=False)
    with pytest.raises(optishear.InputError, match="needs a tokenizer"):
        optishear.prune(model, "wanda")
    assert torch.equal(before, model.state_dict()["model.layers.0.mlp.up_proj.weight"])


def test_models_without_decoder_blocks_are_refused() -> None:
    with pytest.raises(optishear.InputError, match="no prunable layers"):
        optishear.prune(torch.nn.Linear(4, 4), "wanda", calibration=random_calibration())  # type: ignore[arg-type]
