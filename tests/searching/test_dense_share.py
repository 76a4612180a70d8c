"""The search for layers that stay dense beside an N:M pattern."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optishear.divergence.model_divergence import ModelDivergence
from optishear.errors import InputError
from optishear.masks.select import keep_mask
from optishear.metrics.metric import WANDA
from optishear.metrics.score import scores
from optishear.models.layers import prunable_layers
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.recipes.density import Density
from optishear.search_space.space import Genome
from optishear.searching.algorithms.operators import switch_patterns
from optishear.searching.dense_share import check_dense_share, share_in_words
from optishear.searching.density_descent import DensityDescent
from optishear.searching.journal import Journal, Measurement
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.search import SearchResult
from optishear.searching.sensitivity import pattern_costs
from optishear.searching.universal import check_universal
from optishear.statistics.collect import collect_statistics
from search_space.spaces import genomes, make_space
from searching.test_search import CALIBRATION, Killed, last_round, search
from tiny import random_calibration, tiny_model
from wording import numbers_in

# Of the tiny model's 18,432 prunable weights.
UNIT = 512 / 18432
SHARE = 0.15
NEAREST = int(SHARE / UNIT) * UNIT


def chosen(result: SearchResult) -> dict[str, Any]:
    (row,) = [row for row in last_round(result) if row["chosen"]]
    return row


@pytest.mark.parametrize("changes", [{}, {"sparsity_budget": "objective"}, {"order": "joint"}, {"descent_steps": 0}])
def test_the_recipe_has_the_nearest_share_that_is_not_above_the_one_asked_for(changes: dict[str, Any]) -> None:
    result = search("2:4", dense_share=SHARE, trials=40, **changes)
    assert result.recipe.dense_share == pytest.approx(NEAREST)
    assert chosen(result)["dense_share"] == result.recipe.dense_share
    model = tiny_model()
    summary = apply_recipe(model, result.recipe, collect_statistics(model, CALIBRATION, progress=False))
    assert summary.achieved_sparsity == pytest.approx(0.5 * (1 - NEAREST))
    assert {round(zeros, 9) for zeros in summary.layers.values()} == {0.0, 0.5}
    assert f"{NEAREST:.2%}" in result.reason
    assert "15.00%" in result.reason


def test_it_is_never_worse_than_the_last_layers_with_the_named_metrics() -> None:
    result = search("2:4", dense_share=SHARE, trials=40)
    rows = [row for row in last_round(result) if row["dense_share"] == result.recipe.dense_share]
    named = [row for row in rows if row["name"]]
    assert {row["name"] for row in named} == {"magnitude", "wanda", "ria"}
    assert chosen(result)["kl"] == min(row["kl"] for row in rows)


@pytest.mark.parametrize("budget", ["exact", "objective"])
def test_the_front_goes_over_the_share(budget: str) -> None:
    result = search("2:4", dense_share=0.25, trials=80, sparsity_budget=budget)
    shares = [recipe.dense_share for recipe in result.front]
    kl = [recipe.objectives["kl"] for recipe in result.front]
    assert shares == sorted(shares, reverse=True)
    assert kl == sorted(kl)
    assert {0.0, 0.25} <= set(shares)
    assert set(shares) <= {0.0, 4 / 36, 0.25, 13 / 36, 0.5}
    for recipe in result.front:
        model = tiny_model()
        summary = apply_recipe(model, recipe, collect_statistics(model, CALIBRATION, progress=False))
        assert summary.achieved_sparsity == pytest.approx(0.5 * (1 - recipe.dense_share))


def test_the_same_seed_gives_the_same_recipe_also_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = search("2:4", dense_share=SHARE, trials=40)
    put, left = Journal.put, 17

    def killed(journal: Journal, key: str, measurement: Measurement) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Killed
        put(journal, key, measurement)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Journal, "put", killed)
        search("2:4", dense_share=SHARE, trials=40, journal=tmp_path / "journal.jsonl")
    resumed = search("2:4", dense_share=SHARE, trials=40, journal=tmp_path / "journal.jsonl")
    assert resumed.recipe == undisturbed.recipe
    assert resumed.trials.drop_columns("seconds") == undisturbed.trials.drop_columns("seconds")


@pytest.mark.parametrize("scope", ["decoder_layer", "linear"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_every_genome_is_on_target(scope: str, data: st.DataObject) -> None:
    space = make_space("ratios", "2:4", dense_share=0.4, ratio_scope=scope)
    genome: Genome = data.draw(genomes(space))
    candidate = space.decode(genome)
    assert candidate.achieved_sparsity == space.target_sparsity
    assert candidate.dense_share <= 0.4
    encoded = space.encode_ratios(candidate)
    assert np.array_equal(space.encode_ratios(space.decode(encoded)), encoded)


def test_with_the_share_as_an_objective_its_gene_chooses_it() -> None:
    space = make_space("ratios", "2:4", dense_share=0.25, sparsity_budget="objective")
    assert space.size == len(space.layers) + 1
    genome = np.zeros(space.size)
    shares = []
    for choice in range(int(space.upper[-1]) + 1):
        genome[-1] = choice
        shares.append(space.decode(genome).dense_share)
    assert shares == pytest.approx([0.25, 0.0, 0.125, 0.375, 0.5], abs=UNIT)


def test_a_switch_keeps_the_number_of_dense_groups() -> None:
    space = make_space("ratios", "2:4", dense_share=0.25)
    random = np.random.default_rng(0)
    start = space.encode({"all": WANDA})
    assert start is not None
    for _ in range(20):
        genome = start.copy()
        switch_patterns(space, genome, random)
        assert set(genome) <= {0.0, 1.0}
        assert genome.sum() == start.sum()
        assert (genome != start).any()


def test_costs_of_patterns_are_the_gradient_by_definition() -> None:
    model = tiny_model()
    layers = prunable_layers(model)
    dense = [layer.module.weight.detach().clone() for layer in layers]
    statistics = collect_statistics(model, random_calibration(), progress=False)
    tokens, pattern = random_calibration(6, 32).tokens, parse_pattern("2:4")
    error = ModelDivergence(model, tokens, ("kl",))
    with torch.no_grad():
        log_p = model(tokens[2:5]).logits.log_softmax(-1)
    counts = [0 if index in (1, 8) else layer.module.in_features // 2 for index, layer in enumerate(layers)]
    with MaskedWeights(layers, statistics, pattern, 1e9) as weights:
        weights.apply([WANDA] * len(layers), counts)
        assert torch.equal(layers[1].module.weight, dense[1])
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        costs, _ = pattern_costs(weights, error, layers, (0.5, 0.25, 0.0), 2, 3)
        for layer in layers:
            layer.module.weight.requires_grad_(True)
        log_q = model(tokens[2:5]).logits.log_softmax(-1)
        (log_p.exp() * (log_p - log_q)).sum(-1).mean().backward()
        expected = []
        for layer, weight in zip(layers, dense, strict=True):
            score = scores(WANDA, weight, statistics.squared_norms[layer.name])
            for kept in ("2:4", "3:4"):
                pruned = ~keep_mask(score, parse_pattern(kept))
                expected.append(-float((layer.module.weight.grad * weight)[pruned].sum()))
            expected.append(0.0)
            layer.module.weight.requires_grad_(False)
            layer.module.weight.grad = None
    assert costs == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_the_descent_takes_the_costliest_layers_within_the_share() -> None:
    descent = DensityDescent(Density((0.5, 0.0), np.array([40, 40, 20, 100]), np.arange(4)), 0.3)
    assert descent.ratios.tolist() == [0.5] * 4
    descent.step(torch.tensor([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0], [9.0, 0.0]], dtype=torch.float64), 0.0)
    assert descent.ratios.tolist() == [0.0, 0.5, 0.0, 0.5]
    # Dense layers look cheaper now; only their order among each other is news.
    descent.step(torch.tensor([[0.4, 0.0], [1.0, 0.0], [0.1, 0.0], [9.0, 0.0]], dtype=torch.float64), 0.5)
    assert descent.ratios.tolist() == [0.0, 0.5, 0.0, 0.5]
    descent.step(torch.tensor([[float("nan"), 0.0]] * 4, dtype=torch.float64), 0.9)
    assert descent.ratios.tolist() == [0.0, 0.5, 0.0, 0.5]


@pytest.mark.parametrize(
    ("sparsity", "changes", "words"),
    [
        ("0.5", {"dense_share": 0.1}, "2:4"),
        ("2:4", {"dense_share": 0.1, "ratio_scope": "none"}, "ratio_scope"),
        ("4:8", {"denser_patterns": ["6:8"]}, "dense_share"),
        ("2:4", {"dense_share": 0.1, "denser_patterns": ["6:8"]}, "6:8"),
        ("4:8", {"dense_share": 0.1, "denser_patterns": ["4:8"]}, "4:8"),
        ("4:8", {"dense_share": 0.1, "denser_patterns": ["2:8"]}, "2:8"),
        ("4:8", {"dense_share": 0.1, "denser_patterns": ["0.25"]}, "0.25"),
    ],
)
def test_what_cannot_work_is_refused(sparsity: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_dense_share(SearchParameters(**changes), parse_pattern(sparsity))
    with pytest.raises(InputError, match=words):
        search(sparsity, **changes)


def test_a_share_below_every_layer_and_one_for_several_models_are_refused() -> None:
    with pytest.raises(InputError, match="smallest layer"):
        search("2:4", dense_share=0.001)
    with pytest.raises(InputError, match="dense_share"):
        check_universal(SearchParameters(dense_share=0.1))


def test_a_missed_share_is_stated() -> None:
    parameters = SearchParameters(dense_share=0.1)
    assert numbers_in(share_in_words(parameters, 0.1)) == [10.0]
    assert numbers_in(share_in_words(parameters, 0.0938)) == [9.38, 10.0]
    assert "6:8" in share_in_words(SearchParameters(dense_share=0.1, denser_patterns=["6:8"]), 0.1)


@pytest.mark.parametrize("changes", [{}, {"sparsity_budget": "objective"}, {"order": "joint"}, {"descent_steps": 0}])
def test_layers_may_have_a_pattern_between_the_target_and_dense(changes: dict[str, Any]) -> None:
    result = search("4:8", dense_share=0.25, denser_patterns=["6:8"], trials=40, **changes)
    recipe = result.recipe
    texts = {text for curve in recipe.layer_patterns.values() for text in curve}
    assert texts <= {"4:8", "6:8", "dense"}
    assert recipe.dense_share == pytest.approx(0.25)
    model = tiny_model()
    summary = apply_recipe(model, recipe, collect_statistics(model, CALIBRATION, progress=False))
    assert summary.achieved_sparsity == pytest.approx(0.5 * (1 - 0.25))
    assert {round(zeros, 9) for zeros in summary.layers.values()} <= {0.0, 0.25, 0.5}


def test_the_descent_gives_layers_of_middling_worth_the_pattern_between() -> None:
    # Two thirds of the loss of a layer come from a third of its pruned weights.
    density = Density((0.5, 0.25, 0.0), np.array([40, 40, 40, 40]), np.arange(4))
    descent = DensityDescent(density, 0.5)
    descent.step(torch.tensor([[3.0, 1.0, 0.0]] * 4, dtype=torch.float64), 0.0)
    assert descent.ratios.tolist() == [0.25] * 4
    descent = DensityDescent(density, 0.5)
    descent.step(torch.tensor([[9.0, 5.0, 0.0], [3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.2, 0.1, 0.0]]).double(), 0.0)
    assert descent.ratios.tolist() == [0.0, 0.25, 0.25, 0.5]


def test_a_smaller_share_is_possible_with_a_pattern_between() -> None:
    share = 0.6 * UNIT
    with pytest.raises(InputError, match="smallest layer"):
        search("4:8", dense_share=share)
    result = search("4:8", dense_share=share, denser_patterns=["6:8"], trials=20)
    assert result.recipe.dense_share == pytest.approx(UNIT / 2)
