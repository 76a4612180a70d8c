"""Channels in a new order: the model computes the same, and N:M loses less."""

import logging

import pytest
import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.diagnosis.pruned_weights import masked_by
from optishear.models.layers import prunable_layers
from optishear.pattern import parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.pruning.channels import check_permutation, permute_channels
from optishear.recipes.recipe import Recipe, named_recipe
from optishear.statistics.collect import collect_statistics
from optishear.statistics.gradients import collect_gradients
from optishear.statistics.statistics import Statistics
from tiny import random_calibration, tiny_model
from wording import refused

CALIBRATION = random_calibration()


def recipe(sparsity: str = "2:4", name: str = "wanda") -> Recipe:
    return named_recipe(name, sparsity).model_copy(update={"permute_channels": True})


def model_of(family: str) -> PreTrainedModel:
    """In float64, with biases that are not zero."""
    model = tiny_model(family).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return model


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        values: Tensor = model(CALIBRATION.tokens).logits
    return values


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "gemma"])
def test_the_dense_model_computes_the_same(architecture: str) -> None:
    model = model_of(architecture)
    before = logits(model)
    weights = {layer.name: layer.module.weight.clone() for layer in prunable_layers(model)}
    permute_channels(model, recipe(), collect_statistics(model, CALIBRATION, progress=False))
    moved = {
        layer.name.rpartition(".")[2]
        for layer in prunable_layers(model)
        if not torch.equal(layer.module.weight, weights[layer.name])
    }
    assert moved == {"gate_proj", "up_proj", "down_proj", "v_proj", "o_proj"}
    torch.testing.assert_close(logits(model), before, rtol=1e-12, atol=1e-12)


def test_the_statistics_move_with_the_channels() -> None:
    model = model_of("llama")
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    moved = permute_channels(model, recipe(), statistics)
    again = collect_statistics(model, CALIBRATION, progress=False)
    for name, norms in again.squared_norms.items():
        torch.testing.assert_close(moved.squared_norms[name], norms, rtol=1e-5, atol=1e-6)


def test_the_gradients_move_with_the_weights() -> None:
    model = tiny_model("llama")
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    with_gradients = Statistics(statistics.squared_norms, collect_gradients(model, CALIBRATION, False))
    moved = permute_channels(model, recipe(), with_gradients)
    again = collect_gradients(model, CALIBRATION, False)
    for name, gradient in again.items():
        torch.testing.assert_close(moved.gradients[name].float(), gradient.float(), rtol=0.02, atol=1e-3)


def lost(model: PreTrainedModel, statistics: Statistics, pruned: PreTrainedModel) -> float:
    """The squared Wanda scores that pruning took away."""
    return sum(
        float((layer.module.weight.detach().square() * statistics.of(layer.name, layer.module.in_features)).sum())
        - float((other.module.weight.detach().square() * statistics.of(layer.name, layer.module.in_features)).sum())
        for layer, other in zip(prunable_layers(model), prunable_layers(pruned), strict=True)
    )


def test_less_is_lost_at_the_same_pattern() -> None:
    statistics = collect_statistics(tiny_model(), CALIBRATION, progress=False)
    plain, permuted, dense = tiny_model(), tiny_model(), tiny_model()
    apply_recipe(plain, named_recipe("wanda", "2:4"), statistics)
    summary = apply_recipe(permuted, recipe(), statistics)
    assert summary.achieved_sparsity == 0.5
    loss = lost(dense, statistics, plain)
    moved = permute_channels(dense, recipe(), statistics)
    assert lost(dense, moved, permuted) < loss


def test_a_second_call_finds_the_same_order() -> None:
    statistics = collect_statistics(tiny_model(), CALIBRATION, progress=False)
    pruned, dense = tiny_model(), tiny_model()
    apply_recipe(pruned, recipe(), statistics)
    masked = masked_by(recipe(), prunable_layers(dense), permute_channels(dense, recipe(), statistics))
    for layer, other in zip(prunable_layers(dense), prunable_layers(pruned), strict=True):
        assert torch.equal(masked(layer), other.module.weight)


def test_a_recipe_that_does_not_ask_changes_nothing() -> None:
    model = tiny_model()
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    assert permute_channels(model, named_recipe("wanda", "2:4"), statistics) is statistics
    assert permute_channels(model, recipe("0.5"), statistics) is statistics


def test_other_families_are_left_alone_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model("opt")
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    with caplog.at_level(logging.WARNING):
        assert permute_channels(model, recipe(), statistics) is statistics
    assert "'opt'" in caplog.text


def test_layers_that_are_not_pruned_keep_their_channels() -> None:
    model = tiny_model()
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    down = model.get_parameter("model.layers.0.mlp.down_proj.weight").clone()
    permute_channels(model, recipe().model_copy(update={"exclude": ["*.mlp.*"]}), statistics)
    assert torch.equal(model.get_parameter("model.layers.0.mlp.down_proj.weight"), down)


def test_the_recipe_keeps_the_permutation_in_its_file() -> None:
    assert "permute_channels: true" in recipe().to_yaml()
    assert "permute_channels" not in named_recipe("wanda", "2:4").to_yaml()


def test_a_permutation_of_unstructured_masks_is_one_sentence() -> None:
    check_permutation(parse_pattern("2:4"), True)
    check_permutation(parse_pattern("0.5"), False)
    with refused("permute_channels", 0.5):
        check_permutation(parse_pattern("0.5"), True)
