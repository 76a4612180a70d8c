"""Recipes with paths that a model does not have."""

import logging

import pytest
import torch

from optishear.metrics.metric import WANDA
from optishear.models.layers import prunable_layers
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pruning.apply import apply_recipe
from optishear.recipes.fit import check_fits
from optishear.recipes.layer_ratios import layer_ratios
from optishear.recipes.recipe import Recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model
from wording import refused

UNKNOWN = [
    {"metrics": {"all": WANDA, "self_attn.q_prj": WANDA}},
    {"metrics": {"all": WANDA, "model.layers.7.self_attn.q_proj": WANDA}},
    {"metrics": {"all": WANDA, "attention_out_": WANDA}},
    {"metrics": {"all": WANDA}, "sparsity_ratios": {"self_attn.q_prj": [0.4, 0.6]}},
    {"metrics": {"all": WANDA}, "sparsity_ratios": {"mlp_in": [0.4, 0.6]}},
    {"metrics": {"all": WANDA}, "sparsity_ratios": {"mlp.down_proj.3": [0.4, 0.6]}},
]


def recipe_of(**fields: object) -> Recipe:
    return Recipe.model_validate({"name": "own", "sparsity": "0.5", "metrics": {"all": WANDA}, **fields})


@pytest.mark.parametrize("fields", UNKNOWN, ids=range(len(UNKNOWN)))
def test_a_path_that_the_model_does_not_have(fields: dict[str, dict[str, object]]) -> None:
    model = tiny_model()
    recipe = recipe_of(**fields)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    statistics = collect_statistics(model, random_calibration(), progress=False)
    path = list(fields.get("sparsity_ratios", fields["metrics"]))[-1]

    with refused("'own'", repr(path)):
        apply_recipe(model, recipe, statistics)
    with refused("'own'", repr(path)):
        reconstruct(model, recipe, statistics, random_calibration(), ReconstructionParameters(reconstruction="admm"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_refusal_names_the_closest_path() -> None:
    with refused("self_attn.q_prj", 1, "self_attn.q_proj"):
        check_fits(recipe_of(**UNKNOWN[0]), prunable_layers(tiny_model()), "llama")


@pytest.mark.parametrize("origin", [{"model_type": "llama"}, {"model": "of an earlier version"}])
def test_a_searched_recipe_of_another_family_is_applied_with_a_warning(
    origin: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    layers = prunable_layers(tiny_model("opt"))
    recipe = recipe_of(sparsity_ratios={"mlp.gate_proj": [0.4, 0.6]}, origin=origin)

    with caplog.at_level(logging.WARNING):
        check_fits(recipe, layers, "opt")

    assert [record.args for record in caplog.records] == [("own", "sparsity_ratios", 1, "opt", "mlp.gate_proj")]


def test_a_searched_recipe_of_the_same_family_is_refused() -> None:
    recipe = recipe_of(sparsity_ratios={"mlp.gate": [0.4, 0.6]}, origin={"model_type": "llama"})
    with refused("'mlp.gate'", "mlp.gate_proj"):
        check_fits(recipe, prunable_layers(tiny_model()), "llama")


def test_ratios_under_all_are_those_of_the_layers_without_their_own() -> None:
    layers = prunable_layers(tiny_model())
    recipe = recipe_of(sparsity_ratios={"all": [0.3, 0.5], "mlp.down_proj": [0.9, 0.9]})

    ratios = layer_ratios(recipe, layers)

    by_name = dict(zip([layer.name for layer in layers], ratios, strict=True))
    rise = by_name["model.layers.1.self_attn.q_proj"] - by_name["model.layers.0.self_attn.q_proj"]
    difference = by_name["model.layers.1.mlp.down_proj"] - by_name["model.layers.1.self_attn.q_proj"]
    assert (rise, difference) == pytest.approx((0.2, 0.4))
