"""What every search algorithm promises (``algorithms.base``), asked and told without a model."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from optishear.errors import InputError
from optishear.metrics.canonical import distinct_meta_metrics
from optishear.metrics.metric import NAMED
from optishear.search_space.space import Genome, Space
from optishear.searching.algorithms.base import Algorithm, AlgorithmFactory
from optishear.searching.algorithms.coordinate_search import META_PRESETS, PASSES, POWER_PRESETS, CoordinateSearch
from optishear.searching.algorithms.registry import ALGORITHMS, algorithm_for
from search_space.spaces import make_space

EVERY: dict[str, AlgorithmFactory] = {**ALGORITHMS, "coordinates": CoordinateSearch}
SMALLEST_POPULATION = 4
SPACES: dict[str, Space] = {
    "meta": make_space("metric", "2:4", metric_space="meta", metric_scope="model"),
    "power by kind": make_space("metric", metric_space="power", metric_scope="kind"),
    "ratios": make_space("ratios", ratio_scope="decoder_layer"),
    "paper": make_space(
        "joint", metric_space="meta", metric_scope="model", ratio_scope="decoder_layer", ratio_levels=3,
        sparsity_budget="objective",
    ),
}  # fmt: skip
# What only some spaces have a meaning for.
ONLY = {"exhaustive": ["meta"], "coordinates": ["power by kind"]}
CASES = [(name, space) for name in EVERY for space in ONLY.get(name, SPACES)]
ENDS = ("exhaustive", "coordinates")

Values = NDArray[np.float64]
Generations = list[list[tuple[float, ...]]]


def quality(space: Space, genomes: list[Genome], objectives: int) -> Values:
    """Distances [genomes, objectives] to one best genome for each objective."""
    values = np.array(genomes) / space.upper
    return np.stack([np.abs(values - best).mean(axis=1) for best in np.linspace(0.2, 0.8, objectives)], axis=1)


def start_genomes(space: Space, more: int = 0) -> list[Genome]:
    """The named metrics that the space holds, as a search begins, and some drawn ones; no candidate twice."""
    named = [space.encode({"all": metric}) for metric in NAMED.values()]
    generator = np.random.default_rng(100)
    drawn = [space.random(generator) for _ in range(more)]
    return list({space.decode(genome).key: genome for genome in [*named, *drawn] if genome is not None}.values())


def make(
    name: str,
    space: Space,
    start: list[Genome],
    objectives: int = 1,
    population: int = SMALLEST_POPULATION,
    seed: int = 0,
) -> Algorithm:
    if name == "tpe":
        pytest.importorskip("optuna")
    return EVERY[name](space, start, objectives, population, seed)


def ask_and_tell(
    algorithm: Algorithm, values: Callable[[int, list[Genome]], Values], generations: int = 5
) -> Generations:
    """What is asked for in each generation; no more once it asks for nothing."""
    asked = []
    for generation in range(generations):
        genomes = algorithm.ask()
        if not genomes:
            break
        asked.append([tuple(map(float, genome)) for genome in genomes])
        algorithm.tell(genomes, values(generation, genomes))
    return asked


@cache
def undisturbed(
    name: str,
    space: str,
    objectives: int = 1,
    population: int = SMALLEST_POPULATION,
    seed: int = 0,
    more: int | None = 0,
    generations: int = 5,
) -> Generations:
    """A few generations; ``more`` is how many genomes it begins with beside the named metrics, ``None`` for none."""
    start = [] if more is None else start_genomes(SPACES[space], more)
    algorithm = make(name, SPACES[space], start, objectives, population, seed)
    return ask_and_tell(algorithm, lambda _, genomes: quality(SPACES[space], genomes, objectives), generations)


@pytest.mark.parametrize(("name", "space"), CASES)
class TestEveryAlgorithm:
    @pytest.mark.parametrize(("objectives", "population"), [(1, SMALLEST_POPULATION), (2, 5), (3, SMALLEST_POPULATION)])
    def test_it_asks_for_genomes_of_the_space(self, name: str, space: str, objectives: int, population: int) -> None:
        asked = undisturbed(name, space, objectives, population)
        bounds = SPACES[space]
        for genome in (np.array(row) for generation in asked for row in generation):
            assert genome.shape == (bounds.size,)
            assert np.all((genome >= 0) & (genome <= bounds.upper))
            assert np.array_equal(genome[~bounds.is_real], np.round(genome[~bounds.is_real]))
        # The first may be as long as what it begins with, and a sweep goes by scopes.
        assert name == "coordinates" or all(len(generation) <= population for generation in asked[1:])
        assert len(asked) == 5

    @pytest.mark.parametrize("more", [0, 12])
    def test_it_begins_with_all_that_it_is_given(self, name: str, space: str, more: int) -> None:
        start = [tuple(map(float, genome)) for genome in start_genomes(SPACES[space], more)]
        rows = [row for generation in undisturbed(name, space, more=more) for row in generation]
        assert rows[: len(start)] == start

    def test_it_begins_without_anything_given(self, name: str, space: str) -> None:
        assert len(undisturbed(name, space, more=None)) == 5

    @pytest.mark.parametrize("objectives", [1, 2])
    def test_a_seed_decides_everything(self, name: str, space: str, objectives: int) -> None:
        first = undisturbed(name, space, objectives, seed=3)
        np.random.seed(len(first))
        state = str(np.random.get_state())
        assert undisturbed.__wrapped__(name, space, objectives, seed=3) == first
        assert str(np.random.get_state()) == state, "the state of others is neither read nor changed"

    def test_another_seed_asks_for_others(self, name: str, space: str) -> None:
        assert (undisturbed(name, space) != undisturbed(name, space, seed=3)) == (name not in ENDS)

    @pytest.mark.parametrize("objectives", [1, 2])
    def test_what_was_killed_goes_on_from_its_journal(self, name: str, space: str, objectives: int) -> None:
        """It is asked and told from the start, with the values of the journal, and asks for the same."""
        before = undisturbed(name, space, objectives)
        journal = {
            row: quality(SPACES[space], [np.array(row)], objectives)[0]
            for generation in before[:4]
            for row in generation
        }
        resumed = make(name, SPACES[space], start_genomes(SPACES[space]), objectives)

        def known(_: int, genomes: list[Genome]) -> Values:
            return np.array([journal[tuple(map(float, genome))] for genome in genomes])

        assert ask_and_tell(resumed, known, 4) == before[:4]
        assert [tuple(map(float, genome)) for genome in resumed.ask()] == before[4]

    def test_it_leaves_alone_what_it_is_given(self, name: str, space: str) -> None:
        given = start_genomes(SPACES[space], 3)
        kept = [(given, np.array(given))]

        def remembered(_: int, genomes: list[Genome]) -> Values:
            values = quality(SPACES[space], genomes, 2)
            kept.extend([(genomes, np.array(genomes)), (values, values.copy())])  # type: ignore[list-item]
            return values

        ask_and_tell(make(name, SPACES[space], given, objectives=2), remembered)
        assert len(kept) == 11
        assert all(np.array_equal(np.array(now), before) for now, before in kept)

    @pytest.mark.parametrize("objectives", [1, 2])
    def test_it_goes_on_where_candidates_are_broken_or_alike(self, name: str, space: str, objectives: int) -> None:
        def broken(generation: int, genomes: list[Genome]) -> Values:
            values = quality(SPACES[space], genomes, objectives)
            values[:: 2 if generation == 0 else 1] = [np.inf, np.inf, 1.0, 0.0, 2.0][generation]
            return values

        algorithm = make(name, SPACES[space], start_genomes(SPACES[space]), objectives)
        assert len(ask_and_tell(algorithm, broken)) == 5

    def test_what_it_expects_is_what_it_asks_for(self, name: str, space: str) -> None:
        algorithm = make(name, SPACES[space], start_genomes(SPACES[space]))
        assert (algorithm.expected is not None) == (name in ENDS)
        if algorithm.expected is not None:
            asked = ask_and_tell(algorithm, lambda _, genomes: quality(SPACES[space], genomes, 1), 10**4)
            assert algorithm.expected == sum(len(generation) for generation in asked)
            assert algorithm.ask() == []


@pytest.mark.parametrize(
    ("name", "space"),
    [
        *((name, space) for name in ("nsga3", "nsga2", "evopress") for space in SPACES if space != "meta"),
        ("tpe", "paper"),
    ],
)
def test_what_learns_asks_for_better_genomes_as_it_goes(name: str, space: str) -> None:
    asked = undisturbed(name, space, population=8, more=None, generations=12)
    means = [quality(SPACES[space], [np.array(row) for row in generation], 1).mean() for generation in asked]
    assert np.mean(means[-3:]) < 0.8 * means[0]


@pytest.mark.parametrize("name", ["nsga3", "nsga2"])
@pytest.mark.parametrize("space", SPACES)
def test_a_generation_repeats_neither_itself_nor_the_best_so_far(name: str, space: str) -> None:
    best: list[tuple[float, tuple[float, ...]]] = []
    for generation in undisturbed(name, space, population=8, more=None, generations=12):
        assert len(set(generation)) == len(generation)
        assert not best or min(best)[1] not in generation
        values = quality(SPACES[space], [np.array(row) for row in generation], 1)[:, 0]
        best += zip(values.tolist(), generation, strict=True)


@pytest.mark.parametrize("name", ["nsga3", "nsga2"])
def test_a_population_that_is_closed_under_its_operators_is_joined_by_others(name: str) -> None:
    space = make_space("ratios", ratio_scope="decoder_layer", ratio_levels=3)
    asked = ask_and_tell(make(name, space, start_genomes(space)), lambda _, each: quality(space, each, 1), 6)
    assert len(asked) == 6


@pytest.mark.parametrize("objectives", [3, 5])
def test_nsga3_has_a_direction_for_every_objective_however_small_its_population(objectives: int) -> None:
    asked = undisturbed("nsga3", "paper", objectives)
    assert {len(generation) for generation in asked} == {max(SMALLEST_POPULATION, objectives)}


@pytest.mark.parametrize("population", [SMALLEST_POPULATION, 50])
def test_exhaustive_asks_for_every_metric_once(population: int) -> None:
    asked = undisturbed("exhaustive", "meta", population=population, generations=1000)
    keys = [SPACES["meta"].decode(np.array(row)).key for generation in asked for row in generation]
    assert len(keys) == len(set(keys)) == len(distinct_meta_metrics())


@pytest.mark.parametrize("space", ["power by kind", "ratios", "paper"])
def test_exhaustive_refuses_what_it_cannot_enumerate(space: str) -> None:
    with pytest.raises(InputError, match="exhaustive"):
        make("exhaustive", SPACES[space], [])


def test_exhaustive_leaves_ratios_to_nsga3_and_metrics_of_scopes_are_swept_first() -> None:
    assert algorithm_for("exhaustive", "ratios") is ALGORITHMS["nsga3"]
    for name, algorithm in ALGORITHMS.items():
        assert algorithm_for(name, "metric") is algorithm
        assert algorithm_for(name, "coordinates") is CoordinateSearch


@pytest.mark.parametrize(("metric_space", "presets"), [("power", POWER_PRESETS), ("meta", META_PRESETS)])
def test_a_sweep_keeps_the_best_preset_of_each_scope(metric_space: str, presets: list[Any]) -> None:
    space = make_space("coordinates", metric_space=metric_space, metric_scope="kind")
    scopes = len(space.metric_scopes)
    encoded = [genome for preset in presets if (genome := space.encode({"all": preset})) is not None]
    assert len(encoded) == len(presets)
    # Each scope is best with another preset.
    wished = np.stack([encoded[preset].reshape(scopes, -1)[scope] for scope, preset in enumerate([5, 2, 7, 3])])

    def wrong_scopes(_: int, genomes: list[Genome]) -> Values:
        wrong = (np.array(genomes).reshape(len(genomes), scopes, -1) != wished).any(axis=2).sum(axis=1)
        # A distance to the target is zero for all.
        return np.stack([1.0 + wrong, np.zeros(len(genomes))], axis=1)

    asked = ask_and_tell(make("coordinates", space, [], objectives=2), wrong_scopes, 1000)
    assert tuple(wished.flatten()) in [row for generation in asked for row in generation]
    assert [len(generation) for generation in asked] == [len(presets)] * (1 + PASSES * scopes)
