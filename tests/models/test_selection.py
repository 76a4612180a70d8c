"""Patterns that choose which layers are pruned."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from families.families import family_model as model_of
from optishear.interface.api import prune, search
from optishear.models.coverage import coverage
from optishear.models.layers import all_prunable_layers, prunable_layers
from optishear.models.select_layers import log_selection, select_layers
from optishear.models.selection import Selection
from optishear.recipes.recipe import Recipe, named_recipe, published_beside, with_selection
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model
from wording import numbers_in, refused


def zeros(model: nn.Module) -> dict[str, float]:
    """The share of zeros of each layer, selected or not."""
    return {layer.name: float((layer.module.weight == 0).float().mean()) for layer in all_prunable_layers(model)}


@pytest.mark.parametrize(
    ("include", "exclude", "paths"),
    [
        (["mlp.*"], [], {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}),
        (["self_attn.?_proj"], ["*.q_proj", "*k_proj"], {"self_attn.v_proj", "self_attn.o_proj"}),
        ([], ["mlp*", "self_attn.[qkv]_proj"], {"self_attn.o_proj"}),
    ],
)
def test_layers_go_by_their_path(include: list[str], exclude: list[str], paths: set[str]) -> None:
    model = tiny_model()

    layers = select_layers(model, Selection.of(include, exclude))

    assert {layer.name for layer in layers} == {f"model.layers.{index}.{path}" for index in (0, 1) for path in paths}
    assert [layer.name for layer in prunable_layers(model)] == [layer.name for layer in layers]


def test_layers_go_by_their_name() -> None:
    layers = select_layers(tiny_model(layers=3), Selection.of(["model.layers.[12].*"], ["model.layers.2.*"]))

    assert {layer.decoder_layer for layer in layers} == {1}
    assert len(layers) == 7


def test_experts_go_by_their_parameter_and_by_their_number() -> None:
    model = model_of("mixtral")
    everything = {layer.name for layer in all_prunable_layers(model)}

    left = {layer.name for layer in select_layers(model, Selection.of(exclude=["mlp.experts.down_proj"]))}
    assert everything - left == {f"model.layers.{b}.mlp.experts.down_proj.{e}" for b in (0, 1) for e in range(4)}
    left = {layer.name for layer in select_layers(model, Selection.of(exclude=["mlp.experts.*.3"]))}
    assert len(everything - left) == 4


def test_routers_stay_out() -> None:
    with refused("include", "'*gate'"):
        select_layers(model_of("mixtral"), Selection.of(["*gate"]))


@pytest.mark.parametrize(
    ("selection", "named"),
    [
        (Selection.of(["mlp.dwn_proj"]), ("include", "'mlp.dwn_proj'", "mlp.down_proj")),
        (Selection.of(["mlp.*"], ["lm_head"]), ("exclude", "'lm_head'")),
        (Selection.of([], ["*"]), ("exclude", "['*']")),
        (Selection.of(["mlp.*"], ["mlp.*"]), ("include", "exclude", "['mlp.*']")),
    ],
)
def test_patterns_without_a_layer_are_refused(selection: Selection, named: tuple[str, ...]) -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match="pattern") as caught:
        select_layers(model, selection)
    assert all(part in str(caught.value) for part in named)
    assert len(prunable_layers(model)) == 14


def test_the_log_counts_and_names_what_is_in_and_out(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model()
    with caplog.at_level(logging.INFO):
        log_selection(model)
        assert not caplog.records
        select_layers(model, Selection.of(exclude=["mlp.down_proj", "model.layers.0.mlp.up_proj"]))
        log_selection(model)

    inside, outside = [record.getMessage() for record in caplog.records if record.name.startswith("optishear")]
    assert numbers_in(inside) == [11, 2, 2, 2, 2, 2, 1]
    assert numbers_in(outside) == [3, 1, 2]
    assert "mlp.down_proj" in outside
    assert "mlp.down_proj" not in inside


def test_coverage_counts_what_is_left_out() -> None:
    model = tiny_model()
    whole = coverage(model)
    select_layers(model, Selection.of(exclude=["mlp.down_proj"]))

    left = coverage(model)

    assert left.matrix_weights == whole.matrix_weights
    assert left.left_out == {"mlp.down_proj.weight": 2 * 32 * 64}
    assert whole.prunable_weights - left.prunable_weights == 2 * 32 * 64


def test_statistics_are_those_of_all_layers() -> None:
    model = tiny_model()
    select_layers(model, Selection.of(["mlp.*"]))

    statistics = collect_statistics(model, random_calibration(), progress=False)

    assert len(statistics.squared_norms) == 14


@pytest.mark.parametrize("reconstruction", ["none", "admm", "sparsegpt"])
@pytest.mark.parametrize("include", ["mlp.*", "model.layers.1.*"])
def test_only_the_chosen_layers_are_pruned(reconstruction: str, include: str) -> None:
    model = tiny_model()
    before = {layer.name: layer.module.weight.clone() for layer in all_prunable_layers(model)}

    summary = prune(
        model,
        "wanda",
        calibration=random_calibration(),
        include=[include],
        reconstruction=reconstruction,
        progress=False,
    )

    chosen = {layer.name for layer in prunable_layers(model)}
    assert set(summary.layers) == chosen
    assert summary.achieved_sparsity == pytest.approx(0.5, abs=0.001)
    assert {name for name, share in zeros(model).items() if share > 0.49} == chosen
    for layer in all_prunable_layers(model):
        assert torch.equal(layer.module.weight, before[layer.name]) == (layer.name not in chosen)


def test_a_search_prunes_the_chosen_layers_and_its_recipe_says_which(tmp_path: Path, tiny_tokenizer: object) -> None:
    model = tiny_model()
    recipe = search(
        model,
        tiny_tokenizer,
        calibration=random_calibration(8),
        exclude=["self_attn.*"],
        search_sequences=4,
        trials=12,
        population=4,
        rounds=1,
        descent_steps=2,
        reconstructed_finalists=0,
        progress=False,
    )
    recipe.save(tmp_path / "recipe.yaml")
    recipe = Recipe.load(tmp_path / "recipe.yaml")

    assert (recipe.include, recipe.exclude) == ([], ["self_attn.*"])
    assert all(path.startswith(("mlp", "all")) for path in recipe.sparsity_ratios)
    pruned = tiny_model()
    prune(pruned, recipe, calibration=random_calibration(8), progress=False)
    assert {name for name, share in zeros(pruned).items() if share} == {
        name for name in zeros(pruned) if ".mlp." in name
    }


def test_a_recipe_with_patterns_is_for_no_other_layers() -> None:
    recipe = with_selection(named_recipe("wanda", "0.5"), [], ["mlp.*"])

    assert with_selection(recipe, [], []) == with_selection(recipe, [], ["mlp.*"]) == recipe
    assert published_beside("ria", recipe).exclude == ["mlp.*"]
    with refused("'wanda'", "exclude", "['mlp.*']", "['self_attn.*']"):
        with_selection(recipe, [], ["self_attn.*"])


def test_a_recipe_for_all_layers_is_written_without_patterns() -> None:
    recipe = named_recipe("wanda", "0.5")

    assert not {"include", "exclude"} & recipe.model_dump(mode="json").keys()
    assert with_selection(recipe, ["mlp.*"], []).model_dump(mode="json")["include"] == ["mlp.*"]
