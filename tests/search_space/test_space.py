"""Genomes and the candidates that they stand for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optishear.metrics.canonical import all_meta_metrics, metric_key
from optishear.metrics.metric import MAGNITUDE, RIA, WANDA, MetaMetric, PowerMetric
from optishear.models.layers import block_path
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.recipes.layer_ratios import MAXIMUM_RATIO
from optishear.search_space.space import Genome, Space, ratio_groups
from optishear.searching.choice import SPARSITY_TOLERANCE
from search_space.spaces import LAYERS, MODELS, make_space, spaces, spaces_and_genomes

properties = settings(max_examples=40, deadline=None)


def layer_ratios(space: Space, genome: Genome) -> list[float]:
    """The wished ratio of each layer by definition: the target and so many steps off it, within [0, 0.99]."""
    levels = genome[space.is_level]
    wished = [space.pattern.fraction + (level - (space.levels - 1) / 2) * space.step for level in levels]
    return [min(max(wished[group], 0.0), MAXIMUM_RATIO) for group in space.ratio_groups]


@properties
@given(spaces_and_genomes())
def test_a_genome_is_within_bounds_and_decoding_leaves_it_alone(drawn: tuple[Space, Genome]) -> None:
    space, genome = drawn
    assert len(genome) == space.size == len(space.upper) == len(space.is_real) == len(space.is_level) > 0
    assert np.all((genome >= 0) & (genome <= space.upper))
    assert np.array_equal(genome[~space.is_real], np.round(genome[~space.is_real]))
    before = genome.copy()
    space.decode(genome)
    assert np.array_equal(genome, before)


@properties
@given(spaces())
def test_every_value_of_a_whole_gene_has_the_same_share_of_the_unit_interval(space: Space) -> None:
    for gene in np.flatnonzero(~space.is_real):
        values = int(space.upper[gene]) + 1
        for value in range(values):
            for inside in (value + 1e-9, value + 1 - 1e-9):
                point = np.full(space.size, 0.5)
                point[gene] = inside / values
                assert space.from_unit(point)[gene] == value


@properties
@given(drawn=spaces_and_genomes(), seed=st.integers(0, 2**32 - 1))
def test_random_genomes_are_those_of_the_seed(drawn: tuple[Space, Genome], seed: int) -> None:
    space, _ = drawn
    first, second = (space.random(np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.all((first >= 0) & (first <= space.upper))


@properties
@given(spaces_and_genomes())
def test_metrics_encoded_are_decoded_to_themselves(drawn: tuple[Space, Genome]) -> None:
    space, genome = drawn
    metrics = space.decode(genome).metrics
    encoded = space.encode(metrics)
    assert encoded is not None
    assert np.all((encoded >= 0) & (encoded <= space.upper))
    decoded = space.decode(encoded)
    assert decoded.metrics == metrics
    # Every level is the middle one, which is the target.
    assert layer_ratios(space, encoded) == pytest.approx([space.pattern.fraction] * len(space.ratio_groups))


@properties
@given(spaces(stages=("metric", "joint")))
def test_named_metrics_that_a_space_holds_keep_their_masks(space: Space) -> None:
    held = {name for name, metric in {"magnitude": MAGNITUDE, "wanda": WANDA, "ria": RIA}.items()
            if (genome := space.encode({"all": metric})) is not None
            and all(metric_key(each) == metric_key(metric) for each in space.decode(genome).layer_metrics)}  # fmt: skip
    assert held == ({"magnitude", "wanda", "ria"} if space.metric_space == "power" else {"magnitude", "wanda"})


@pytest.mark.parametrize("exponents", [(2.5, 0.0), (-0.1, 0.0), (1.0, 2.5), (1.0, -0.5)])
def test_a_metric_beyond_the_bounds_is_not_in_the_space(exponents: tuple[float, float]) -> None:
    metric = PowerMetric(activation_exponent=exponents[0], sums_exponent=exponents[1])
    assert make_space("metric", metric_space="power", metric_scope="model").encode({"all": metric}) is None


def test_every_metric_of_the_meta_space_is_reached() -> None:
    space = make_space("metric", metric_space="meta", metric_scope="model")
    for metric in all_meta_metrics()[::19]:
        genome = space.encode({"all": metric})
        assert genome is not None
        (decoded,) = space.decode(genome).metrics.values()
        assert metric_key(decoded) == metric_key(metric)


@properties
@given(spaces_and_genomes(stages=("metric", "joint")))
def test_each_layer_has_the_metric_of_its_scope(drawn: tuple[Space, Genome]) -> None:
    space, genome = drawn
    candidate = space.decode(genome)
    genes = dict(
        zip(space.metric_scopes, np.split(genome[: space.metric_genes], len(space.metric_scopes)), strict=True)
    )
    for layer, metric in zip(space.layers, candidate.layer_metrics, strict=True):
        (scope,) = {"all", layer.kind, block_path(layer)} & set(space.metric_scopes)
        if space.metric_space == "power":
            assert isinstance(metric, PowerMetric)
            values = (metric.activation_exponent, metric.sums_exponent, metric.column_share)
            assert values == tuple(genes[scope])
        else:
            assert isinstance(metric, MetaMetric)
            assert metric == candidate.metrics[scope]


@properties
@given(spaces_and_genomes(exact=True))
def test_with_an_exact_budget_every_genome_meets_the_target(drawn: tuple[Space, Genome]) -> None:
    space, genome = drawn
    candidate = space.decode(genome)
    assert abs(candidate.achieved_sparsity - space.pattern.fraction) <= SPARSITY_TOLERANCE
    ratios = [ratio for curve in candidate.sparsity_ratios.values() for ratio in curve]
    assert all(0 <= ratio <= MAXIMUM_RATIO for ratio in ratios)
    # One common shift: the layers keep the order of their levels.
    if space.ratio_groups:
        wished = np.array(layer_ratios(space, genome))
        by_path = {path: iter(curve) for path, curve in candidate.sparsity_ratios.items()}
        blocks = candidate.sparsity_ratios.get("all")
        given_ = [blocks[x.decoder_layer] if blocks else next(by_path[block_path(x)]) for x in space.layers]
        inside = [0 < ratio < MAXIMUM_RATIO for ratio in given_]
        shifts = (np.array(given_) - wished)[inside]
        assert np.ptp(shifts) < 1e-12 if len(shifts) else True


@properties
@given(spaces_and_genomes(stages=("ratios", "joint"), exact=False))
def test_without_an_exact_budget_the_ratios_are_those_of_the_levels(drawn: tuple[Space, Genome]) -> None:
    space, genome = drawn
    candidate = space.decode(genome)
    if not space.ratio_groups:
        assert candidate.sparsity_ratios == {}
        return
    wished = layer_ratios(space, genome)
    lower, upper = space.ratio_bounds()
    assert all(lower - 1e-12 <= ratio <= upper + 1e-12 for ratio in wished)
    expected = [round(ratio * layer.module.in_features) for ratio, layer in zip(wished, space.layers, strict=True)]
    assert candidate.pruned_per_row == expected
    pruned = sum(
        count * layer.module.out_features for count, layer in zip(expected, space.layers, strict=True)
    ) / float(space.group_sizes().sum())
    assert candidate.achieved_sparsity == pytest.approx(pruned)


@properties
@given(spaces(stages=("ratios",), exact=False))
def test_the_extreme_levels_are_the_bounds_of_the_ratios(space: Space) -> None:
    bounds = [layer_ratios(space, level)[0] for level in (np.zeros(space.size), space.upper)]
    assert bounds == pytest.approx(list(space.ratio_bounds()))


@properties
@given(spaces(stages=("ratios",)))
def test_groups_divide_the_weights(space: Space) -> None:
    sizes = space.group_sizes()
    assert float(sizes.sum()) == sum(layer.module.weight.numel() for layer in space.layers)
    assert len(sizes) == space.size == len(set(space.ratio_groups))
    values = torch.arange(len(sizes), dtype=torch.float64)
    of_layers = [float(values[group]) for group in space.ratio_groups]
    assert torch.allclose(space.group_means(of_layers), values)
    # A mean by size, not by layer.
    mixed = [float(index) for index in range(len(space.layers))]
    total = sum(v * layer.module.weight.numel() for v, layer in zip(mixed, space.layers, strict=True))
    assert float((space.group_means(mixed) * sizes).sum()) == pytest.approx(total)
    assert space.start_ratios().tolist() == [space.pattern.fraction] * space.size


@properties
@given(spaces_and_genomes(stages=("ratios",)))
def test_ratios_are_encoded_to_levels_of_the_space(drawn: tuple[Space, Genome]) -> None:
    space, genome = drawn
    encoded = space.encode_ratios(space.decode(genome))
    assert encoded.shape == genome.shape
    assert np.all((encoded >= 0) & (encoded <= space.upper))
    assert np.array_equal(encoded, np.round(encoded))


@pytest.mark.parametrize("scope", ["linear", "decoder_layer"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_ratios_encoded_are_decoded_to_themselves(scope: str, data: st.DataObject) -> None:
    """Where a step is wider than the rounding to whole weights of a row of 32."""
    space = make_space("ratios", ratio_scope=scope, ratio_step=0.05, ratio_levels=9, sparsity_budget="objective")
    levels = data.draw(st.lists(st.integers(0, 8), min_size=space.size, max_size=space.size))
    genome = np.array(levels, dtype=float)
    assert np.array_equal(space.encode_ratios(space.decode(genome)), genome)


@pytest.mark.parametrize("sparsity", ["2:4", "4:8", "1:4"])
@pytest.mark.parametrize("shape", sorted(MODELS))
def test_a_pattern_of_groups_has_no_ratios(sparsity: str, shape: str) -> None:
    pattern = parse_pattern(sparsity)
    assert ratio_groups(SearchParameters(), MODELS[shape], pattern) == []
    space = make_space("joint", sparsity, shape)
    assert not space.is_level.any()
    candidate = space.decode(space.random(np.random.default_rng(0)))
    assert candidate.sparsity_ratios == {}
    assert candidate.achieved_sparsity == pattern.fraction
    expected = [round(layer.module.in_features * pattern.fraction) for layer in MODELS[shape]]
    assert candidate.pruned_per_row == expected


def test_what_has_genes_of_its_own() -> None:
    blocks, paths, layers = 3, 7, len(LAYERS)
    scopes = {"model": 1, "kind": 4, "path": paths}
    groups = {"none": 0, "decoder_layer": blocks, "linear": layers}
    for scope, count in scopes.items():
        for ratio_scope, levels in groups.items():
            for metric_space, genes in (("meta", 4), ("power", 3)):
                settings_ = {"metric_scope": scope, "ratio_scope": ratio_scope, "metric_space": metric_space}
                assert make_space("joint", **settings_).size == genes * count + levels
                assert make_space("coordinates", **settings_).size == genes * count
                assert make_space("metric", **settings_).size == genes * count
                assert make_space("ratios", **settings_).size == levels
