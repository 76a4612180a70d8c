import gc

import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from fake_device import FakeGpus
from optishear.errors import InputError
from optishear.metrics.metric import PRUNER_ZERO
from optishear.metrics.score import gradient_scores
from optishear.models import loss_scale
from optishear.models.layers import prunable_layers
from optishear.models.loss_scale import FIRST_FACTOR
from optishear.pruning.apply import apply_recipe, row_scores
from optishear.recipes.recipe import named_recipe
from optishear.statistics import gradients
from optishear.statistics.collect import collect_statistics
from optishear.statistics.gradients import collect_gradients, layers_at_a_time
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


def test_layers_that_have_no_room_together_are_run_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = collect_gradients(tiny_model(), CALIBRATION, progress=False)
    layers = prunable_layers(tiny_model())
    assert layers_at_a_time(layers) == len(layers)
    monkeypatch.setattr(gradients, "free_memory", lambda _: 2 * 3 * 32 * 64 * 4)
    assert layers_at_a_time(layers) == 3
    found = collect_gradients(tiny_model(), CALIBRATION, progress=False)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    monkeypatch.setattr(gradients, "free_memory", lambda _: 0)
    assert layers_at_a_time(layers) == 1


def test_sums_stay_on_the_gpu() -> None:
    expected = collect_gradients(tiny_model(), CALIBRATION, progress=False)
    weights = sum(layer.module.weight.numel() for layer in prunable_layers(tiny_model()))
    with FakeGpus(1) as gpus:
        model = tiny_model().to("cuda")
        gc.collect()
        gpus.reset()
        before = gpus.live["cuda:0"]
        found = collect_gradients(model, CALIBRATION, progress=False)
        assert gpus.peak["cuda:0"] - before > 4 * weights
        # Nothing but the norms moves, whatever the number of sequences.
        assert gpus.transfers["d2h"]["bytes"] <= 2 * weights + 1000
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("foreseen", [True, False])
def test_fewer_layers_fit_a_smaller_gpu(
    foreseen: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = collect_gradients(tiny_model(), CALIBRATION, progress=False)
    model = tiny_model()
    weights = sum(layer.module.weight.numel() for layer in prunable_layers(model))
    with FakeGpus(1) as gpus:
        collect_gradients(tiny_model().to("cuda"), CALIBRATION, progress=False)
    if not foreseen:
        monkeypatch.setattr(gradients, "free_memory", lambda _: 2**40)
    # Without the room for half of the sums.
    with FakeGpus(1, memory=gpus.peak["cuda:0"] - 2 * weights, limited=True):
        found = collect_gradients(model.to("cuda"), CALIBRATION, progress=False)
    assert ("Out of memory" in caplog.text) != foreseen
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("first", [FIRST_FACTOR, 2.0**40])
def test_float16_gradients_do_not_underflow(first: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "FIRST_FACTOR", first)
    model = tiny_model().half()
    with torch.no_grad():
        # Large features and a small head: the gradients of the features are some 1e-7.
        model.model.norm.weight.mul_(2**10)
        model.lm_head.weight.mul_(2**-14)
    expected = collect_gradients(model.float(), CALIBRATION, progress=False)
    found = collect_gradients(model.half(), CALIBRATION, progress=False)
    for name, norms in expected.items():
        torch.testing.assert_close(found[name].float(), norms.float(), atol=0.02, rtol=0)


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
    scored = row_scores(PRUNER_ZERO, layer, statistics)(slice(None))
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
