import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.metrics.metric import PRUNER_ZERO
from optishear.metrics.score import gradient_scores
from optishear.models.layers import prunable_layers
from optishear.pruning.apply import apply_recipe, layer_scores
from optishear.recipes.recipe import named_recipe
from optishear.statistics.collect import collect_statistics
from optishear.statistics.gradients import collect_gradients
from optishear.statistics.statistics import Statistics
from tiny import random_calibration, tiny_model

CALIBRATION = random_calibration(3, 12)


def test_the_norms_are_those_of_plain_backward_passes(family_model: PreTrainedModel) -> None:
    found = collect_gradients(family_model, CALIBRATION, progress=False)
    layers = prunable_layers(family_model)
    sums = {layer.name: torch.zeros_like(layer.module.weight) for layer in layers}
    for sequence in CALIBRATION.tokens:
        family_model.zero_grad()
        family_model(input_ids=sequence[None], labels=sequence[None]).loss.backward()
        for layer in layers:
            sums[layer.name] += layer.module.weight.grad.square()
    for name, total in sums.items():
        norms = total.sqrt()
        expected = (norms - norms.min()) / (norms.max() - norms.min())
        torch.testing.assert_close(found[name].float(), expected, atol=2e-3, rtol=2e-3)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    needed = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    collect_gradients(model, CALIBRATION, progress=False)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.requires_grad == needed[name]
        if "proj" in name:
            assert parameter.grad is None


def test_the_score_is_the_squared_weight_times_the_scaled_gradient() -> None:
    weight = torch.tensor([[1.0, -2.0], [3.0, float("nan")]])
    gradient = torch.tensor([[0.5, 1.0], [0.0, 1.0]]).half()
    assert gradient_scores(weight, gradient).tolist() == [[0.5, 4.0], [0.0, -float("inf")]]


def test_pruner_zero_prunes_the_lowest_scores_of_each_row() -> None:
    model = tiny_model()
    gradients = collect_gradients(model, CALIBRATION, progress=False)
    layer = prunable_layers(model)[0]
    statistics = Statistics({}, gradients)
    scored = layer_scores(PRUNER_ZERO, layer, statistics)
    summary = apply_recipe(model, named_recipe("pruner_zero", 0.5), statistics)
    assert summary.achieved_sparsity == 0.5
    kept = layer.module.weight != 0
    assert (scored.masked_fill(~kept, float("inf")).amin(1) >= scored.masked_fill(kept, -float("inf")).amax(1)).all()


def test_without_gradients_nothing_is_pruned() -> None:
    model = tiny_model()
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    with pytest.raises(InputError, match="hold no gradients for model"):
        apply_recipe(model, named_recipe("pruner_zero", 0.5), statistics)
    assert all((layer.module.weight != 0).all() for layer in prunable_layers(model))
