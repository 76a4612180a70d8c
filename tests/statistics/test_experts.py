"""Experts in a list of modules: those without tokens take the statistics of their block."""

import pytest
import torch

from list_of_experts import EXPERTS, model_with_lists
from optishear.models.layers import all_prunable_layers, expert_group
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import named_recipe
from optishear.reconstruction.reconstruct import ExpertCounts, reconstruct
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import EXPERT_TOKENS
from tiny import random_calibration

CALIBRATION = random_calibration(sequences=24, length=32)


def test_an_expert_without_a_token_takes_the_statistics_of_all_experts() -> None:
    model = model_with_lists()
    read: dict[str, list[torch.Tensor]] = {}
    experts = [layer for layer in all_prunable_layers(model) if expert_group(layer) is not None]
    for layer in experts:
        layer.module.register_forward_pre_hook(
            lambda _, inputs, name=layer.name: read.setdefault(name, []).append(inputs[0].flatten(0, -2))
        )

    statistics = collect_statistics(model, CALIBRATION, progress=False)

    assert len(experts) == 2 * EXPERTS * 2
    for layer in experts:
        others = [other.name for other in experts if expert_group(other) == expert_group(layer)]
        assert len(others) == EXPERTS
        own = torch.cat(read.get(layer.name, [torch.zeros(0, layer.module.in_features)]))
        assert statistics.tokens[layer.name] == len(own)
        if len(own) < EXPERT_TOKENS:
            own = torch.cat([each for name in others for each in read.get(name, [])])
        expected = own.double().square().mean(dim=0) * 32
        torch.testing.assert_close(statistics.squared_norms[layer.name].double(), expected, rtol=1e-4, atol=1e-6)
    assert {name for name, count in statistics.tokens.items() if count == 0} == {
        f"model.layers.{block}.mlp.experts.2.{part}" for block in (0, 1) for part in (0, 2)
    }
    assert statistics.few_tokens.keys() >= {"model.layers.0.mlp.experts.2.0"}


def test_the_sentence_on_few_tokens_wording() -> None:
    statistics = collect_statistics(model_with_lists(), CALIBRATION, progress=False)
    few = statistics.few_tokens
    first = next(iter(few))

    assert statistics.few_tokens_in_words.startswith(
        f"{len(few)} of 12 layers of experts got fewer than {EXPERT_TOKENS} calibration tokens and take the statistics "
        f"of all experts of their block: {first} ({few[first]})"
    )


@pytest.mark.parametrize("method", ["admm", "sparsegpt", "none"])
def test_every_expert_is_pruned_and_counted(method: str) -> None:
    model = model_with_lists()
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    few = len(statistics.few_tokens)
    parameters = ReconstructionParameters(reconstruction=method)

    summary = reconstruct(model, named_recipe("wanda", "0.5"), statistics, CALIBRATION, parameters)

    solved = 0 if method == "none" else 12
    assert summary.experts is not None
    assert summary.experts.layers == 12
    assert (summary.experts.reconstructed, summary.experts.left_at_masks) == (solved, 12 - solved)
    assert summary.experts.on_shared_tokens >= min(solved, 4) if few else True
    assert all(share == pytest.approx(0.5, abs=0.02) for share in summary.pruning.layers.values())


def test_experts_of_a_block_without_any_token_are_left_at_their_masks() -> None:
    model = model_with_lists()
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.forward = torch.zeros_like

    summary = reconstruct(
        model, named_recipe("wanda", "0.5"), statistics, CALIBRATION, ReconstructionParameters(reconstruction="admm")
    )

    assert summary.experts == ExpertCounts(layers=12, reconstructed=0, on_shared_tokens=0, left_at_masks=12)


def test_wanda_prunes_every_expert() -> None:
    model = model_with_lists()
    statistics = collect_statistics(model, CALIBRATION, progress=False)

    summary = apply_recipe(model, named_recipe("wanda", "0.5"), statistics)

    assert set(summary.layers.values()) == {0.5}
