"""What mutation and crossover keep of a genome."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optishear.search_space.space import Genome, Space
from optishear.searching.algorithms.operators import (
    MAXIMUM_SWITCH,
    GenomeCrossover,
    GenomeMutation,
    GenomeProblem,
    StartSampling,
    mutate_levels,
)
from search_space.spaces import genomes, make_space, spaces

properties = settings(max_examples=50, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def populations(draw: st.DrawFn, size: int) -> tuple[Space, np.ndarray]:
    """A space and some of its genomes, [size, genes]."""
    space = draw(spaces())
    return space, np.array([draw(genomes(space)) for _ in range(size)])


def mutated(space: Space, parents: np.ndarray, seed: int) -> np.ndarray:
    children: np.ndarray = GenomeMutation()._do(
        GenomeProblem(space, 1), parents, random_state=np.random.default_rng(seed)
    )
    return children


def crossed(space: Space, pairs: np.ndarray, seed: int) -> np.ndarray:
    children: np.ndarray = GenomeCrossover()._do(
        GenomeProblem(space, 1), pairs, random_state=np.random.default_rng(seed)
    )
    return children


def check_genomes(space: Space, children: np.ndarray) -> None:
    flat = children.reshape(-1, space.size)
    assert np.all((flat >= 0) & (flat <= space.upper))
    assert np.array_equal(flat[:, ~space.is_real], np.round(flat[:, ~space.is_real]))


@properties
@given(drawn=populations(4), seed=seeds)
def test_mutation_makes_genomes_of_the_space_and_leaves_the_parents(drawn: tuple[Space, np.ndarray], seed: int) -> None:
    space, parents = drawn
    before = parents.copy()
    children = mutated(space, parents, seed)
    assert np.array_equal(parents, before)
    assert children.shape == parents.shape
    check_genomes(space, children)
    assert np.array_equal(children, mutated(space, parents, seed))


@properties
@given(drawn=populations(4), seed=seeds)
def test_mutation_keeps_the_total_of_the_levels_of_an_exact_budget(drawn: tuple[Space, np.ndarray], seed: int) -> None:
    space, parents = drawn
    children = mutated(space, parents, seed)
    moves = np.abs(children - parents)[:, space.is_level]
    assert np.all(moves <= 2 * MAXIMUM_SWITCH)
    assert np.all((moves > 0).sum(axis=1) <= 4)
    if space.exact:
        assert np.array_equal(children[:, space.is_level].sum(axis=1), parents[:, space.is_level].sum(axis=1))


@properties
@given(drawn=populations(4), seed=seeds)
def test_crossover_makes_genomes_of_the_space_and_leaves_the_parents(
    drawn: tuple[Space, np.ndarray], seed: int
) -> None:
    space, parents = drawn
    pairs = parents.reshape(2, 2, space.size)
    before = pairs.copy()
    children = crossed(space, pairs, seed)
    assert np.array_equal(pairs, before)
    assert children.shape == pairs.shape
    check_genomes(space, children)
    assert np.array_equal(children, crossed(space, pairs, seed))
    # Whole genes are exchanged, none is lost and none is made up.
    whole = ~space.is_real
    assert np.array_equal(np.sort(children, axis=0)[:, :, whole], np.sort(pairs, axis=0)[:, :, whole])


@properties
@given(drawn=populations(3), count=st.integers(1, 6), seed=seeds)
def test_a_start_population_is_the_given_genomes_and_drawn_ones(
    drawn: tuple[Space, np.ndarray], count: int, seed: int
) -> None:
    space, given_ = drawn
    population = StartSampling(list(given_))._do(
        GenomeProblem(space, 1), count, random_state=np.random.default_rng(seed)
    )
    assert len(population) == max(count, len(given_))
    assert np.array_equal(population[: len(given_)], given_)
    check_genomes(space, population)


@pytest.mark.parametrize("groups", ["decoder_layer", "linear"])
@pytest.mark.parametrize("begin", ["lowest", "middle", "highest"])
def test_without_an_exact_budget_every_level_is_reached_from_everywhere(groups: str, begin: str) -> None:
    space = make_space("ratios", ratio_scope=groups, ratio_levels=5, sparsity_budget="objective")
    levels = {"lowest": np.zeros(space.size), "middle": np.full(space.size, 2.0), "highest": space.upper}
    reached = visited(space, levels[begin])
    assert all(each == {0, 1, 2, 3, 4} for each in reached)


def test_the_level_of_a_single_group_is_moved() -> None:
    whole = make_space("ratios", ratio_levels=5, sparsity_budget="objective")
    space = Space(**{**vars(whole), "ratio_groups": [0] * len(whole.layers)})
    assert visited(space, np.array([0.0])) == [{0, 1, 2, 3, 4}]
    # With an exact budget it is the target's, whatever its level.
    exact = Space(**{**vars(space), "exact": True})
    assert visited(exact, np.array([3.0])) == [{3}]


@pytest.mark.parametrize("groups", ["decoder_layer", "linear"])
def test_with_an_exact_budget_every_level_is_reached_from_the_target(groups: str) -> None:
    space = make_space("ratios", ratio_scope=groups, ratio_levels=5)
    assert all(each == {0, 1, 2, 3, 4} for each in visited(space, np.full(space.size, 2.0)))


def visited(space: Space, genome: Genome, mutations: int = 3000) -> list[set[int]]:
    """The levels of each group on a random walk by mutations."""
    generator = np.random.default_rng(0)
    genome = genome.copy()
    reached: list[set[int]] = [{int(level)} for level in genome]
    for _ in range(mutations):
        mutate_levels(space, genome, generator)
        for levels, level in zip(reached, genome, strict=True):
            levels.add(int(level))
    return reached


@pytest.mark.parametrize("space", ["meta", "power"])
def test_every_metric_gene_is_mutated(space: str) -> None:
    whole = make_space("metric", metric_space=space, metric_scope="kind")
    parents = np.tile(whole.from_unit(np.full(whole.size, 0.5)), (400, 1))
    changed = mutated(whole, parents, 0) != parents
    assert changed.any(axis=0).all()
    # About one gene of each genome.
    assert 0.3 < changed.sum(axis=1).mean() < 2
