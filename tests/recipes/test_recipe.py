"""Recipes survive the round trip, and bad ones are told apart in one sentence."""

from pathlib import Path

import pytest

from optishear.errors import InputError
from optishear.metrics.metric import NAMED, MetaMetric, PowerMetric
from optishear.models.layers import KINDS, prunable_layers
from optishear.recipes.recipe import Recipe, find_recipe, named_recipe
from tiny import tiny_model

RECIPES = [
    named_recipe("magnitude", "0.5"),
    named_recipe("wanda", "2:4"),
    named_recipe("ria", 0.7),
    Recipe(
        name="searched",
        sparsity="0.6",
        metrics={kind: MetaMetric(weight_operation="log", activation_coefficient="mean") for kind in KINDS},
        sparsity_ratios={"self_attn.q_proj": [0.55, 0.65], "mlp.down_proj": [0.6, 0.6]},
        objectives={"kl": 0.123456789012345},
        origin={"model": "some/model", "trials": 300, "seed": 0},
    ),
    Recipe(
        name="unlike densities",
        sparsity="4:8",
        metrics={"all": MetaMetric()},
        dense_share=0.25,
        layer_patterns={"self_attn.q_proj": ["dense", "6:8"], "all": ["4:8", "4:8"]},
    ),
    Recipe(name="power", sparsity="0.5", metrics={"all": PowerMetric(activation_exponent=1 / 3)}),
]
POWER = "name: x\nsparsity: '0.5'\nmetrics: {{all: {{space: power, activation_exponent: {}}}}}\n"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_round_trip(recipe: Recipe, tmp_path: Path) -> None:
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe
    assert [file.name for file in tmp_path.iterdir()] == ["recipe.yaml"]


def test_found_by_name_or_by_file(tmp_path: Path) -> None:
    assert {name: find_recipe(name, "0.5").metrics["all"] for name in NAMED} == NAMED
    RECIPES[3].save(tmp_path / "mine.yaml")
    assert find_recipe(str(tmp_path / "mine.yaml"), "0.5") == RECIPES[3]


def test_a_layer_goes_by_its_path_then_by_its_kind_then_by_all() -> None:
    layers = {layer.name.rsplit(".", 1)[1]: layer for layer in prunable_layers(tiny_model(layers=1))}
    metrics = {
        "self_attn.q_proj": PowerMetric(activation_exponent=0.1),
        "mlp_out": PowerMetric(activation_exponent=0.2),
        "all": PowerMetric(activation_exponent=0.3),
    }
    recipe = Recipe(name="mixed", sparsity="0.5", metrics=metrics)
    chosen = {name: recipe.metric_of(layer).activation_exponent for name, layer in layers.items()}
    assert (chosen["q_proj"], chosen["down_proj"], chosen["k_proj"]) == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nsparsity: '1.5'\nmetrics: {all: {space: meta}}\n", "1.5"),
        ("name: x\nsparsity: '0.5'\nmetrics: {attention_in: {space: meta}}\n", "four kinds"),
        ("name: x\nsparsity: '0.5'\nmetrics: {all: {space: meta, weight_operation: cube}}\n", "weight_operation"),
        ("name: x\nsparsity: '0.5'\nmetrics: {all: {space: meta}}\nsparsity_ratios: {all: [1.0]}\n", "sparsity_ratios"),
        (POWER.format(".nan"), "activation_exponent"),
        (POWER.format("1.0e+300"), "activation_exponent"),
        (POWER.format("-.inf"), "activation_exponent"),
        (POWER.format("1.0, sums_exponent: 9.0"), "sums_exponent"),
        (POWER.format("1.0, column_share: .nan"), "column_share"),
        (POWER.format("1.0") + "sparsity_ratios: {all: [.nan]}\n", "sparsity_ratios"),
        (POWER.format("1.0") + "sparsity_ratios: {all: []}\n", "sparsity_ratios"),
        (POWER.format("1.0") + "sparsity_ratios: {a: [0.5], b: [0.5, 0.5]}\n", "'b': 2"),
        ("just words", "dictionary"),
        ("a: [", "cannot be read"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_bad_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words) as refused:
        Recipe.load(path)
    assert "\n" not in str(refused.value)


def test_missing_recipe_names_the_choices() -> None:
    with pytest.raises(InputError, match="magnitude, wanda, ria"):
        find_recipe("wandaa", "0.5")


def test_only_recipes_with_unlike_patterns_state_a_schema_version() -> None:
    versions = {recipe.name: recipe.model_dump(mode="json").get("schema_version") for recipe in RECIPES}
    assert versions.pop("unlike densities") == 2
    assert set(versions.values()) == {None}
    assert not {"dense_share", "layer_patterns"} & named_recipe("wanda", "2:4").model_dump(mode="json").keys()


PATTERNED = "name: x\nsparsity: '{}'\nmetrics: {{all: {{space: meta}}}}\nlayer_patterns: {{all: [{}]}}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema_version: 3\n" + PATTERNED.format("2:4", "dense"), "schema version 3"),
        (PATTERNED.format("0.5", "dense"), "N:M"),
        (PATTERNED.format("2:4", "'1:4'"), "1:4"),
        (PATTERNED.format("2:4", "'4:8'"), "4:8"),
        (PATTERNED.format("2:4", "half"), "half"),
        ("name: x\nsparsity: '2:4'\nmetrics: {all: {space: meta}}\ndense_share: 1.0\n", "dense_share"),
    ],
)
def test_patterns_that_cannot_be_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        Recipe.load(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("value", ["!!binary /w==", "2026-02-28", ".nan", "[.inf]"])
def test_an_origin_that_cannot_be_written_as_it_was_read_is_refused(value: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"name: a\nsparsity: 0.5\nmetrics: {{all: {{space: meta}}}}\norigin: {{seed: {value}}}\n")
    with pytest.raises(InputError, match="origin"):
        Recipe.load(file)
