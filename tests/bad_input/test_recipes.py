"""A recipe file is a recipe that is written as it was read and prunes to its target, or one sentence."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from transformers.modeling_utils import PreTrainedModel

from bad_input.attack import attack, result_of
from bad_input.strategies import ANYTHING, DATES, changed, damaged, nested
from optishear.models.layers import prunable_layers
from optishear.pruning.apply import check_pattern
from optishear.recipes.fit import check_fits
from optishear.recipes.layer_counts import layer_counts
from optishear.recipes.recipe import Recipe
from tiny import tiny_model

_FRACTION = {
    "name": "found",
    "sparsity": "0.5",
    "metrics": {
        "all": {"space": "power", "activation_exponent": 0.5, "sums_exponent": 1.0, "column_share": 0.5},
        "self_attn.q_proj": {"space": "meta", "weight_operation": "sqrt"},
    },
    "sparsity_ratios": {"all": [0.4, 0.6], "mlp.up_proj": [0.5, 0.5]},
    "include": ["mlp.*"],
    "objectives": {"kl": 0.25},
    "origin": {"model_type": "llama", "trials": 300, "seed": 0},
}
_PATTERN = {
    "schema_version": 2,
    "name": "found",
    "sparsity": "2:4",
    "metrics": {"all": {"space": "meta"}},
    "dense_share": 0.1,
    "layer_patterns": {"all": ["2:4", "dense"], "self_attn.q_proj": ["3:4", "2:4"]},
    "permute_channels": True,
}


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_model()


@given(content=changed(_FRACTION, ANYTHING | nested(DATES)) | changed(_PATTERN, ANYTHING | nested(DATES)))
@attack(150)
def test_a_recipe(content: Any, model: PreTrainedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    recipe = result_of(lambda: Recipe.load(file))
    if recipe is None:
        return
    recipe.save(file)
    assert Recipe.load(file) == recipe
    assert all(math.isfinite(value) for value in recipe.objectives.values())
    layers = prunable_layers(model)
    result_of(lambda: check_fits(recipe, layers, "llama"))
    result_of(lambda: check_pattern(recipe.sparsity, layers))
    counts = result_of(lambda: layer_counts(recipe, layers))
    for count, layer in zip(counts or [], layers, strict=counts is not None):
        assert 0 <= count < layer.module.in_features


@given(content=damaged(yaml.safe_dump(_FRACTION).encode()))
@attack(60)
def test_a_damaged_recipe(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    result_of(lambda: Recipe.load(file))
