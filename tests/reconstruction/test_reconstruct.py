"""A whole tiny model: what is pruned stays pruned, and what stays gets better."""

from typing import Any

import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet
from optishear.divergence.model_divergence import ModelDivergence
from optishear.errors import InputError
from optishear.models.layers import prunable_layers
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import Recipe, named_recipe
from optishear.reconstruction.reconstruct import ReconstructionSummary, reconstruct
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model
from wording import refused

CALIBRATION = random_calibration(sequences=16, length=32)


def rebuilt(
    model: PreTrainedModel, recipe: Recipe, calibration: CalibrationSet = CALIBRATION, **parameters: Any
) -> ReconstructionSummary:
    observed = collect_statistics(model, calibration, progress=False)
    return reconstruct(model, recipe, observed, calibration, ReconstructionParameters(**parameters))


def masks(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {layer.name: layer.module.weight != 0 for layer in prunable_layers(model)}


def divergences(model: PreTrainedModel, recipe: Recipe, **parameters: Any) -> tuple[float, float]:
    """KL divergence of a model from the dense one on the calibration, with masks only and reconstructed."""
    error = ModelDivergence(model, CALIBRATION.tokens, ("kl",))
    dense = {name: value.clone() for name, value in model.state_dict().items()}
    apply_recipe(model, recipe, collect_statistics(model, CALIBRATION, progress=False))
    masked = error.measure()["kl"]
    model.load_state_dict(dense)
    rebuilt(model, recipe, **parameters)
    return masked, error.measure()["kl"]


ALL = {"tuning_steps": 2}


@pytest.mark.parametrize(("method", "sparsity"), [("none", "2:4"), ("sparsegpt", "0.5"), ("admm", "0.5")])
def test_the_recipes_masks_stay_exactly(family: str, method: str, sparsity: str) -> None:
    recipe = named_recipe("wanda", sparsity)
    model, plain = tiny_model(family), tiny_model(family)
    summary = rebuilt(model, recipe, reconstruction=method, reconstruction_masks="recipe", **ALL)
    wanted = apply_recipe(plain, recipe, collect_statistics(plain, CALIBRATION, progress=False))
    assert summary.pruning == wanted
    found, expected = masks(model), masks(plain)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("method", "sparsity"), [("sparsegpt", "4:8"), ("admm", "2:4"), ("admm", "0.5")])
def test_masks_of_its_own_keep_the_pattern(family_model: PreTrainedModel, method: str, sparsity: str) -> None:
    recipe = named_recipe("wanda", sparsity)
    summary = rebuilt(family_model, recipe, reconstruction=method, **ALL)
    group, kept = recipe.sparsity.group, recipe.sparsity.kept
    for name, mask in masks(family_model).items():
        if group is not None:
            assert (mask.reshape(-1, group).sum(dim=1) == kept).all()
        # SparseGPT's threshold takes one weight more in every block of columns.
        assert summary.pruning.layers[name] == pytest.approx(0.5, abs=0 if method == "admm" or group else 0.002)


@pytest.mark.parametrize(
    "parameters",
    [
        {"reconstruction": "sparsegpt"},
        {"reconstruction": "admm"},
        {"reconstruction": "admm", "reconstruction_masks": "recipe"},
        {"tuning_steps": 40, "tuning_rate": 0.03},
        {"reconstruction": "admm", **ALL},
    ],
    ids=str,
)
def test_every_part_brings_the_outputs_nearer(tiny_llama: PreTrainedModel, parameters: dict[str, Any]) -> None:
    masked, after = divergences(tiny_llama, named_recipe("wanda", "0.5"), **parameters)
    assert after < 0.95 * masked


def test_what_does_not_help_on_held_out_sequences_is_undone(tiny_llama: PreTrainedModel) -> None:
    recipe = named_recipe("wanda", "0.5")
    plain = tiny_model("llama")
    apply_recipe(plain, recipe, collect_statistics(plain, CALIBRATION, progress=False))
    # Steps a hundred times too large, as large as the weights themselves and more.
    summary = rebuilt(tiny_llama, recipe, tuning_steps=8, tuning_rate=3.0)
    assert all(torch.equal(a, b) for a, b in zip(tiny_llama.parameters(), plain.parameters(), strict=True))
    assert summary.block_errors
    assert all(before == after > 0 for before, after in summary.block_errors)


def test_bfloat16_models_keep_their_precision_and_zeros() -> None:
    model = tiny_model("llama").to(torch.bfloat16)
    summary = rebuilt(model, named_recipe("wanda", "2:4"), reconstruction="admm", **ALL)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert summary.pruning.achieved_sparsity == 0.5


def test_ratios_of_a_recipe_are_met_by_layer(tiny_llama: PreTrainedModel) -> None:
    recipe = named_recipe("wanda", "0.5").model_copy(update={"sparsity_ratios": {"all": [0.25, 0.75]}})
    summary = rebuilt(tiny_llama, recipe, reconstruction="admm")
    assert {round(value, 2) for value in summary.pruning.layers.values()} == {0.25, 0.75}
    assert summary.pruning.achieved_sparsity == pytest.approx(0.5)
    assert all(0 < error < 1 for error in summary.layer_errors.values())


def test_the_same_twice() -> None:
    models = [tiny_model(), tiny_model()]
    for model in models:
        rebuilt(model, named_recipe("ria", "0.5"), reconstruction="admm", **ALL)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_one_sequence_is_enough_for_the_layers(tiny_llama: PreTrainedModel) -> None:
    one = random_calibration(sequences=1, length=32)
    summary = rebuilt(tiny_llama, named_recipe("wanda", "0.5"), one, reconstruction="admm")
    assert summary.pruning.achieved_sparsity == 0.5


@pytest.mark.parametrize(
    ("sequences", "parameters", "message"),
    [
        (1, {"tuning_steps": 2}, "tuning_steps is 2, but one calibration sequence leaves none to hold out"),
        (9, {"tuning_steps": 2, "reconstruction_sequences": 1}, "tuning_steps is 2, but one calibration sequence"),
        (4, {"reconstruction_sequences": 5}, "reconstruction_sequences is 5, but there are 4 calibration sequences"),
    ],
    ids=str,
)
def test_too_few_sequences_are_refused(sequences: int, parameters: dict[str, Any], message: str) -> None:
    model, dense = tiny_model(), tiny_model()
    with pytest.raises(InputError, match=message):
        rebuilt(model, named_recipe("wanda", "0.5"), random_calibration(sequences, 32), **parameters)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), dense.parameters(), strict=True))


def test_layers_are_not_fitted_on_what_tells_whether_steps_helped() -> None:
    tokens = CALIBRATION.tokens.clone()
    tokens[-2:] = random_calibration(2, 32, 7).tokens
    recipe = named_recipe("wanda", "0.5")
    observed = collect_statistics(tiny_model(), CALIBRATION, progress=False)

    def first_block_errors(calibration: CalibrationSet, **parameters: Any) -> list[float]:
        made = reconstruct(
            tiny_model(), recipe, observed, calibration, ReconstructionParameters(reconstruction="admm", **parameters)
        )
        return [error for name, error in made.layer_errors.items() if ".0." in name]

    of_others = first_block_errors(CalibrationSet(tokens, "other"), tuning_steps=1)
    assert first_block_errors(CALIBRATION, tuning_steps=1) == of_others
    assert first_block_errors(CALIBRATION) != first_block_errors(CalibrationSet(tokens, "other"))


def test_a_model_whose_blocks_read_the_tokens_beside_the_hidden_states_is_refused() -> None:
    model = tiny_model("llama")

    def hand_over(_: Any, arguments: Any, keywords: dict[str, Any]) -> Any:
        return arguments, {**keywords, "of_the_tokens": arguments[0].sum()}

    for block in model.model.layers:
        block.register_forward_pre_hook(hand_over, with_kwargs=True)
    with refused("llama"):
        reconstruct(
            model, named_recipe("wanda", "0.5"), None, CALIBRATION, ReconstructionParameters(reconstruction="admm")
        )


def test_layers_can_be_fitted_on_some_sequences_alone() -> None:
    recipe = named_recipe("wanda", "0.5")
    whole, part = tiny_model(), tiny_model()
    rebuilt(whole, recipe, random_calibration(sequences=4, length=32), reconstruction="admm")
    # The first sequences of a longer set.
    longer = CalibrationSet(torch.cat([random_calibration(4, 32).tokens, random_calibration(9, 32, 5).tokens]), "more")
    observed = collect_statistics(part, random_calibration(4, 32), progress=False)
    reconstruct(
        part, recipe, observed, longer, ReconstructionParameters(reconstruction="admm", reconstruction_sequences=4)
    )
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), part.parameters(), strict=True))


def test_without_statistics_the_masks_come_from_the_pruned_model_so_far() -> None:
    recipe = named_recipe("wanda", "0.5")
    model, plain = tiny_model(), tiny_model()
    reconstruct(model, recipe, None, CALIBRATION, ReconstructionParameters())
    apply_recipe(plain, recipe, collect_statistics(plain, CALIBRATION, progress=False))
    found, expected = masks(model), masks(plain)
    for name in expected:
        # In the first block nothing is pruned before; later the inputs are others.
        agree = float((found[name] == expected[name]).float().mean())
        assert agree > 0.999 if ".0." in name else 0.5 < agree < 1


def test_nothing_is_touched_where_the_pattern_does_not_fit(tiny_llama: PreTrainedModel) -> None:
    before = [parameter.clone() for parameter in tiny_llama.parameters()]
    with pytest.raises(InputError, match="does not divide"):
        rebuilt(tiny_llama, named_recipe("wanda", "5:7"), reconstruction="admm")
    assert all(torch.equal(a, b) for a, b in zip(before, tiny_llama.parameters(), strict=True))


@pytest.mark.parametrize("method", ["admm", "sparsegpt"])
def test_layers_of_unlike_patterns(method: str) -> None:
    model, dense = tiny_model(), tiny_model()
    recipe = Recipe(
        name="unlike",
        sparsity="4:8",
        metrics=named_recipe("wanda", 0.5).metrics,
        layer_patterns={"mlp.down_proj": ["dense", "6:8"], "all": ["4:8", "4:8"]},
        dense_share=1 / 6,
    )
    summary = rebuilt(model, recipe, reconstruction=method)
    unlike = {"model.layers.0.mlp.down_proj": 0.0, "model.layers.1.mlp.down_proj": 0.25}
    assert summary.pruning.layers == {name: unlike.get(name, 0.5) for name in summary.pruning.layers}
    kept = dense.get_submodule("model.layers.0.mlp.down_proj")
    assert torch.equal(model.get_submodule("model.layers.0.mlp.down_proj").weight, kept.weight)
    of_six = model.get_submodule("model.layers.1.mlp.down_proj").weight.view(-1, 8)
    assert bool(((of_six != 0).sum(dim=1) == 6).all())
    assert summary.layer_errors["model.layers.0.mlp.down_proj"] == 0
