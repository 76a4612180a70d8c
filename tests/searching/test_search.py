"""Properties of the whole search, over all algorithms and spaces."""

import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from optishear.errors import InputError
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.searching import evaluator, measuring, priors
from optishear.searching.journal import Journal, Measurement
from optishear.searching.search import SearchResult, run_search
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model
from wording import numbers_in

CALIBRATION = random_calibration(8, 32)
ALGORITHMS = ["nsga3", "nsga2", "random", "qmc", "tpe", "exhaustive", "evopress"]
SPACES: dict[str, dict[str, Any]] = {
    "default": {},
    "meta": {"metric_space": "meta", "metric_scope": "model"},
    "paper": {
        "ratio_scope": "decoder_layer", "ratio_step": 0.05, "ratio_levels": 3, "descent_steps": 0,
        "divergences": ["frobenius"], "sparsity_budget": "objective", "order": "joint",
        "metric_space": "meta", "metric_scope": "model",
    },
    "power by kind": {"metric_space": "power", "metric_scope": "kind", "ratio_scope": "none"},
    "two divergences": {"divergences": ["kl", "frobenius"]},
}  # fmt: skip


def search(
    sparsity: str = "0.5", seed: int = 0, journal: Path | None = None, sets: tuple[str, ...] = ("",), **changes: Any
) -> SearchResult:
    model = tiny_model()
    parameters = SearchParameters(**{"trials": 60, "population": 8, "search_sequences": 4, **changes})
    return run_search(
        model,
        {name: random_calibration(8, 32, seed=len(name)) for name in sets},
        collect_statistics(model, CALIBRATION, progress=False),
        parameters,
        parse_pattern(sparsity),
        seed=seed,
        journal=journal,
        progress=False,
    )


def last_round(result: SearchResult) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = result.trials.to_pylist()
    return [row for row in rows if row["sequences"] == max(each["sequences"] for each in rows)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("space", SPACES)
def test_never_worse_than_the_named_metrics_and_on_target(algorithm: str, space: str) -> None:
    if algorithm == "tpe":
        pytest.importorskip("optuna")
    if algorithm == "exhaustive" and space in ("paper", "power by kind"):
        with pytest.raises(InputError, match="exhaustive"):
            search(algorithm=algorithm, **SPACES[space])
        return
    result = search(algorithm=algorithm, **SPACES[space])
    objective = SPACES[space].get("divergences", ["kl"])
    rows = last_round(result)
    named = [row for row in rows if row["name"]]
    assert {row["name"] for row in named} == {"magnitude", "wanda", "ria"}
    (chosen,) = [row for row in rows if row["chosen"]]
    if len(objective) == 1:
        assert chosen[objective[0]] <= min(row[objective[0]] for row in named)
    assert result.recipe.objectives[objective[0]] == chosen[objective[0]]
    model = tiny_model()
    summary = apply_recipe(model, result.recipe, collect_statistics(model, CALIBRATION, progress=False))
    assert summary.achieved_sparsity == pytest.approx(0.5, abs=0.001)


def test_exhaustive_tries_every_distinct_metric_once_on_all_sequences() -> None:
    result = search(algorithm="exhaustive", trials=None, ratio_scope="none", search_sequences=2)
    rows = result.trials.to_pylist()
    # Of the named metrics RIA alone is not in the space.
    assert len(rows) == len({row["metrics"] for row in rows}) == 315 + 1
    assert {row["sequences"] for row in rows} == {2}
    best = min(rows, key=lambda row: row["kl"])
    assert numbers_in(result.reason)[:2] == [best["trial"], 316]


@pytest.mark.parametrize("algorithm", [a for a in ALGORITHMS if a not in ("tpe", "exhaustive")])
def test_the_same_seed_gives_the_same_trials(algorithm: str) -> None:
    first, second = search(algorithm=algorithm, trials=40), search(algorithm=algorithm, trials=40)
    assert first.recipe == second.recipe
    assert first.trials.drop_columns("seconds") == second.trials.drop_columns("seconds")


def test_another_seed_gives_other_trials() -> None:
    first, second = search(trials=40, descent_steps=0), search(trials=40, descent_steps=0, seed=1)
    assert first.trials.column("metrics") != second.trials.column("metrics")


def test_the_model_is_dense_again() -> None:
    model, untouched = tiny_model(), tiny_model()
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    run_search(model, {"": CALIBRATION}, statistics, SearchParameters(trials=20), parse_pattern("0.5"), progress=False)
    for name, parameter in untouched.named_parameters():
        assert torch.equal(model.get_parameter(name), parameter), name


class Killed(BaseException):
    """Stands for a kill: nothing in the search catches it."""


@pytest.mark.parametrize("measurements_before_the_kill", [1, 13, 30])
@pytest.mark.parametrize("budget", [{"trials": 60}, {"trials": None, "budget": "2s"}])
def test_a_killed_search_goes_on_and_ends_the_same(
    measurements_before_the_kill: int, budget: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that moves by one step, exact in binary, whenever it is read.
    ticks = count()
    for module in (evaluator, measuring, priors):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(ticks) / 64))
    undisturbed = search(**budget)
    measured: list[tuple[str, int]] = []
    put = Journal.put

    def counting_put(self: Journal, key: str, values: Measurement) -> None:
        if len(measured) == measurements_before_the_kill:
            raise Killed
        measured.append((key, len(values["seconds"])))
        put(self, key, values)

    monkeypatch.setattr(Journal, "put", counting_put)
    with pytest.raises(Killed):
        search(journal=tmp_path / "journal.jsonl", **budget)
    measurements_before_the_kill = 10**6
    lines = map(json.loads, (tmp_path / "journal.jsonl").read_text().splitlines())
    earlier = {line["key"]: sum(line["values"]["seconds"]) for line in lines}
    with (tmp_path / "journal.jsonl").open("a") as journal:
        journal.write('{"key": "torn')
    resumed = search(journal=tmp_path / "journal.jsonl", **budget)
    assert len(set(measured)) == len(measured), "nothing is measured twice"
    assert resumed.recipe == undisturbed.recipe
    assert undisturbed.earlier_seconds == 0
    assert resumed.earlier_seconds == sum(earlier.values()) > 0
    assert resumed.trials.drop_columns("seconds") == undisturbed.trials.drop_columns("seconds")


def test_a_second_search_measures_nothing_that_the_first_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = search(journal=tmp_path / "journal.jsonl")
    monkeypatch.setattr(Journal, "put", lambda *_: pytest.fail("measured again"))
    again = search(journal=tmp_path / "journal.jsonl")
    assert again.recipe == first.recipe
    assert again.trials == first.trials


def test_patterns_of_one_sparsity_share_a_journal_and_no_measurement(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    shared = [search(sparsity, journal=journal, trials=30) for sparsity in ("0.5", "2:4", "4:8")]
    alone = [search(sparsity, trials=30) for sparsity in ("0.5", "2:4", "4:8")]
    assert [each.recipe for each in shared] == [each.recipe for each in alone]


def test_no_candidate_is_evaluated_twice_on_the_same_tokens() -> None:
    rows = search(trials=100).trials.to_pylist()
    seen = [(row["sequences"], row["metrics"], row["sparsity_ratios"]) for row in rows]
    assert len(set(seen)) == len(seen)


def test_every_calibration_set_is_an_objective() -> None:
    result = search(sets=("", "math"), search_calibrations=["math=math.txt"])
    assert {"kl", "kl/math"} <= set(result.trials.column_names)
    assert "kl, kl/math" in result.reason
    rows = last_round(result)
    (chosen,) = [row for row in rows if row["chosen"]]
    (wanda,) = [row for row in rows if row["name"] == "wanda"]
    assert chosen["kl"] <= wanda["kl"]
    assert chosen["kl/math"] <= wanda["kl/math"]
    assert len(result.front) == sum(row["on_front"] for row in rows)


def test_the_descent_lowers_the_error_by_much() -> None:
    """On a model whose first block matters most, uniform ratios are far from the best."""
    with_descent = search(trials=100)
    rows = last_round(with_descent)
    (wanda,) = [row for row in rows if row["name"] == "wanda"]
    assert with_descent.recipe.objectives["kl"] < 0.8 * wanda["kl"]
    assert "descent" in {row["stage"] for row in rows}


def test_groups_have_no_ratios() -> None:
    result = search("2:4")
    assert result.recipe.sparsity_ratios == {}
    assert set(result.trials.column("stage").to_pylist()) == {"reference", "coordinates", "metric"}


def test_too_few_sequences_are_refused() -> None:
    with pytest.raises(InputError, match="search_sequences is 9"):
        search(search_sequences=9)


def test_more_tokens_for_fewer_candidates() -> None:
    rows = search(algorithm="random", ratio_scope="none", metric_scope="model", trials=70).trials.to_pylist()
    counts = {n: sum(row["sequences"] == n and not row["name"] for row in rows) for n in (1, 2, 4)}
    assert counts[1] > counts[2] > counts[4] > 0
    best = [row["metrics"] for row in sorted((r for r in rows if r["sequences"] == 1), key=lambda r: r["kl"])[:1]]
    assert best[0] in [row["metrics"] for row in rows if row["sequences"] == 2]
