"""Sharing the target sparsity out between layers."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optishear.metrics.metric import WANDA
from optishear.models.layers import prunable_layers
from optishear.recipes.layer_ratios import exact_ratios, layer_ratios, pruned_per_row, resample
from optishear.recipes.recipe import Recipe
from tiny import tiny_model

ratios = st.lists(st.floats(0, 0.99), min_size=2, max_size=12)


@settings(deadline=None)
@given(wished=ratios, target=st.floats(0.05, 0.9), seed=st.integers(0, 99))
def test_exact_ratios_meet_the_target(wished: list[float], target: float, seed: int) -> None:
    weights = torch.randint(1, 1000, (len(wished),), generator=torch.Generator().manual_seed(seed)).double()
    exact = exact_ratios(torch.tensor(wished, dtype=torch.float64), weights, target)
    assert float((exact * weights).sum() / weights.sum()) == pytest.approx(target, abs=1e-9)
    assert exact.min() >= 0
    assert exact.max() <= 0.99


def test_exact_ratios_keep_differences_where_nothing_is_clipped() -> None:
    exact = exact_ratios(torch.tensor([0.4, 0.5, 0.7], dtype=torch.float64), torch.ones(3).double(), 0.6)
    torch.testing.assert_close(exact.diff(), torch.tensor([0.1, 0.2], dtype=torch.float64))


def test_whole_numbers_come_as_near_to_the_target_as_they_can() -> None:
    layers = prunable_layers(tiny_model(layers=3))
    total = sum(layer.module.weight.numel() for layer in layers)
    for target in (0.37, 0.5, 0.613):
        counts = pruned_per_row([target] * len(layers), layers, target)
        pruned = sum(count * layer.module.out_features for count, layer in zip(counts, layers, strict=True))
        assert abs(pruned / total - target) * total <= min(layer.module.out_features for layer in layers)


def test_resampling_keeps_the_ends_and_the_order() -> None:
    assert resample([0.4, 0.6], 4) == pytest.approx([0.4, 0.45, 0.55, 0.6])
    assert resample([0.1, 0.2, 0.3, 0.4], 2) == pytest.approx([0.15, 0.35])
    assert resample([0.3, 0.7, 0.5], 3) == [0.3, 0.7, 0.5]
    assert resample([0.5], 3) == [0.5, 0.5, 0.5]


def recipe(ratios: dict[str, list[float]]) -> Recipe:
    return Recipe(name="test", sparsity="0.5", metrics={"all": WANDA}, sparsity_ratios=ratios)


def test_uniform_recipe_has_the_target_everywhere() -> None:
    layers = prunable_layers(tiny_model())
    assert set(layer_ratios(recipe({}), layers)) == {0.5}


def test_ratios_go_by_decoder_layer() -> None:
    layers = prunable_layers(tiny_model(layers=2))
    mapped = layer_ratios(recipe({"all": [0.4, 0.6]}), layers)
    assert [mapped[0], mapped[-1]] == pytest.approx([0.4, 0.6])


def test_ratios_of_another_depth_are_read_by_relative_depth() -> None:
    layers = prunable_layers(tiny_model(layers=4))
    mapped = layer_ratios(recipe({"all": [0.4, 0.6]}), layers)
    assert [mapped[layers.index(each)] for each in layers if each.name.endswith("q_proj")] == pytest.approx(
        [0.4, 0.45, 0.55, 0.6]
    )


def test_unknown_paths_take_the_mean_and_the_target_is_met() -> None:
    layers = prunable_layers(tiny_model("opt", layers=2))
    mapped = layer_ratios(recipe({"self_attn.q_proj": [0.3, 0.3], "self_attn.k_proj": [0.5, 0.9]}), layers)
    by_path = {(layer.decoder_layer, layer.name.rsplit(".", 1)[1]): r for layer, r in zip(layers, mapped, strict=True)}
    assert by_path[1, "k_proj"] - by_path[1, "q_proj"] == pytest.approx(0.6)
    assert by_path[1, "fc1"] - by_path[1, "q_proj"] == pytest.approx(0.3)
    sizes = [layer.module.weight.numel() for layer in layers]
    assert sum(r * n for r, n in zip(mapped, sizes, strict=True)) / sum(sizes) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("pruned", "counts"),
    [(10, [3, 4, 3]), (11, [4, 4, 3]), (12, [4, 4, 4]), (9, [3, 3, 3]), (8, [3, 3, 2])],
    ids=["as rounded", "one more", "two more", "one less", "two less"],
)
def test_what_was_rounded_nearest_to_a_half_changes_first(pruned: int, counts: list[int]) -> None:
    """3.4, 3.6 and 3 of 10 weights of a row."""
    layers: list[Any] = [SimpleNamespace(module=nn.Linear(10, 1, bias=False)) for _ in range(3)]
    assert pruned_per_row([0.34, 0.36, 0.3], layers, pruned / 30) == counts


def test_a_ratio_for_each_layer_is_needed() -> None:
    layers: list[Any] = [SimpleNamespace(module=nn.Linear(10, 1, bias=False)) for _ in range(2)]
    with pytest.raises(ValueError, match="zip"):
        pruned_per_row([0.5], layers)
