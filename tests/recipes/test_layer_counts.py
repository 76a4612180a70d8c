"""What a recipe with layers of unlike N:M patterns prunes of each layer."""

import logging
from typing import Any

import pytest

from optishear.metrics.metric import WANDA
from optishear.models.layers import PrunableLayer, prunable_layers
from optishear.recipes.layer_counts import dense_share, layer_counts
from optishear.recipes.recipe import Recipe, named_recipe, published_beside
from tiny import tiny_model

PATTERNS = {
    "mlp.down_proj": ["dense", "2:4", "2:4", "2:4"],
    "self_attn.q_proj": ["2:4", "2:4", "3:4", "2:4"],
    "all": ["2:4", "2:4", "2:4", "2:4"],
}


def layers_of(depth: int) -> list[PrunableLayer]:
    return prunable_layers(tiny_model(layers=depth))


def recipe(patterns: dict[str, Any], share: float) -> Recipe:
    return Recipe(name="x", sparsity="2:4", metrics={"all": WANDA}, layer_patterns=patterns, dense_share=share)


def test_patterns_are_used_as_written_on_a_model_of_the_same_depth() -> None:
    layers = layers_of(4)
    counts = layer_counts(recipe(PATTERNS, 0.06), layers)
    fractions = {layer.name: count / layer.module.in_features for layer, count in zip(layers, counts, strict=True)}
    unlike = {name: fraction for name, fraction in fractions.items() if fraction != 0.5}
    assert unlike == {"model.layers.0.mlp.down_proj": 0.0, "model.layers.2.self_attn.q_proj": 0.25}


def test_patterns_that_keep_another_share_than_the_recipe_states_are_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        layer_counts(recipe(PATTERNS, 0.5), layers_of(4))
    assert "50.00 %" in caplog.text


def test_another_depth_keeps_the_share_near_the_depth_of_the_dense_layers() -> None:
    layers = layers_of(8)
    patterns = {"mlp.down_proj": ["dense", "2:4", "2:4", "2:4"], "all": ["2:4"] * 4}
    share = 2048 / (4 * 9216)
    counts = layer_counts(recipe(patterns, share), layers)
    assert dense_share(counts, layers, named_recipe("wanda", "2:4").sparsity) == share
    assert [layer.name for layer, count in zip(layers, counts, strict=True) if not count] == [
        "model.layers.0.mlp.down_proj",
        "model.layers.1.mlp.down_proj",
    ]


def test_wanda_beside_it_has_the_same_share_in_the_last_layers() -> None:
    layers = layers_of(4)
    wanda = published_beside("wanda", recipe({"all": ["dense", "2:4", "2:4", "2:4"]}, 0.25))
    dense = {layer.decoder_layer for layer, count in zip(layers, layer_counts(wanda, layers), strict=True) if not count}
    assert dense == {3}


def test_without_a_share_the_pattern_is_that_of_all_layers() -> None:
    layers = layers_of(2)
    counts = layer_counts(named_recipe("wanda", "1:4"), layers)
    assert counts == [3 * layer.module.in_features // 4 for layer in layers]
