"""Candidates: what identifies them, and the recipe that they become."""

from itertools import combinations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optishear.metrics.canonical import metric_key
from optishear.metrics.metric import MAGNITUDE, WANDA, MetaMetric, PowerMetric
from optishear.pattern import parse_pattern
from optishear.recipes.layer_ratios import layer_ratios, pruned_per_row
from optishear.search_space.candidate import AnyMetric, make_candidate
from optishear.search_space.space import Genome, Space
from optishear.searching.masked_weights import MaskedWeights
from optishear.statistics.collect import collect_statistics
from search_space.spaces import LAYERS, spaces_and_genomes
from tiny import random_calibration, tiny_model

# Each group orders every row alike: |W|, |W| x, |W| sqrt(x).
EQUAL: list[list[AnyMetric]] = [
    [
        MAGNITUDE,
        MetaMetric(activation_coefficient="column_sum", activation_operation="square"),
        PowerMetric(activation_exponent=0, sums_exponent=1.5, column_share=0),
        PowerMetric(activation_exponent=0, column_share=1),
    ],
    [
        WANDA,
        MetaMetric(weight_coefficient="row_sum"),
        PowerMetric(activation_exponent=1),
        PowerMetric(activation_exponent=1, column_share=0.25),
        PowerMetric(activation_exponent=1, sums_exponent=2, column_share=0),
    ],
    [MetaMetric(activation_operation="sqrt"), PowerMetric(activation_exponent=0.5)],
    [PowerMetric(activation_exponent=0.5, sums_exponent=1)],
    [PowerMetric(activation_exponent=0.5, sums_exponent=1, column_share=1)],
]


def test_metrics_have_one_key_where_their_masks_are_equal_in_both_spaces() -> None:
    model = tiny_model(layers=3)
    statistics = collect_statistics(model, random_calibration(), progress=False)
    masks = []
    for group in EQUAL:
        assert len({metric_key(metric) for metric in group}) == 1
        pruned = []
        for metric in group:
            # Weights of its own each time, so that nothing is taken for unchanged.
            with MaskedWeights(LAYERS, statistics, parse_pattern("0.5"), 0) as weights:
                weights.apply([metric] * len(LAYERS), [13] * len(LAYERS))
                pruned.append(torch.cat([(layer.module.weight == 0).flatten() for layer in LAYERS]))
        assert all(torch.equal(each, pruned[0]) for each in pruned)
        masks.append(pruned[0])
    assert not any(torch.equal(first, second) for first, second in combinations(masks, 2))
    assert len({metric_key(group[0]) for group in EQUAL}) == len(EQUAL)


@settings(max_examples=40, deadline=None)
@given(spaces_and_genomes(stages=("joint",), exact=True))
def test_a_recipe_prunes_as_its_candidate_did(drawn: tuple[Space, Genome]) -> None:
    space, genome = drawn
    candidate = space.decode(genome)
    recipe = candidate.recipe("searched", space.pattern)
    counts = pruned_per_row(layer_ratios(recipe, space.layers), space.layers, space.pattern.fraction)
    assert counts == candidate.pruned_per_row
    assert [recipe.metric_of(layer) for layer in space.layers] == candidate.layer_metrics


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.05, 0.95), min_size=len(LAYERS), max_size=len(LAYERS)))
def test_counts_are_as_near_to_the_target_as_whole_numbers_go(ratios: list[float]) -> None:
    candidate = make_candidate(LAYERS, parse_pattern("0.5"), {"all": WANDA}, ratios)
    weights = np.array([layer.module.weight.numel() for layer in LAYERS])
    rows = [layer.module.out_features for layer in LAYERS]
    pruned = sum(count * height for count, height in zip(candidate.pruned_per_row, rows, strict=True))
    assert abs(pruned - weights.sum() / 2) <= min(rows) / 2
    assert candidate.achieved_sparsity == pruned / weights.sum()
