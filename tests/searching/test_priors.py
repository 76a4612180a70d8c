"""The ratios that a search begins with."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from optishear.metrics.metric import WANDA
from optishear.models.layers import prunable_layers
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.search_space.candidate import Candidate
from optishear.searching import priors as priors_module
from optishear.searching import run as run_module
from optishear.searching.descent import RatioDescent
from optishear.searching.evaluator import Evaluator
from optishear.searching.journal import Journal
from optishear.searching.priors import Priors, make_priors
from optishear.searching.run import SearchRun
from optishear.searching.search import run_search
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model

MODEL = tiny_model(layers=4)
LAYERS = prunable_layers(MODEL)
STATISTICS = collect_statistics(MODEL, random_calibration(), progress=False)
HALF = parse_pattern("0.5")
FALLING = [0.8, 0.6, 0.4, 0.2]


class Distance(Evaluator):
    """The divergence of a candidate is its distance from falling ratios; a measurement takes ten seconds."""

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        ratios = [
            count / layer.module.in_features for count, layer in zip(candidate.pruned_per_row, LAYERS, strict=True)
        ]
        distance = sum(abs(ratio - FALLING[layer.decoder_layer]) for ratio, layer in zip(ratios, LAYERS, strict=True))
        return {"kl": 1 + distance, "seconds": 10.0, "sparsity_distance": 0.0}

    def marginal_costs(self, *_: Any) -> tuple[list[float], float]:
        return [0.0] * len(LAYERS), 0.0


def run(curves: dict[str, list[float]], seconds: float = 0.0, **changes: Any) -> SearchRun:
    parameters = SearchParameters(**{"trials": 60, "metric_scope": "model", "search_sequences": 4, **changes})
    search = SearchRun(Distance(), LAYERS, parameters, HALF, 0, 4, None, progress=False, priors=Priors(curves, seconds))
    search.run_phases()
    return search


CURVES = {"uniform": [0.5] * 4, "rising": FALLING[::-1], "falling": FALLING}


@pytest.mark.parametrize("changes", [{}, {"descent_steps": 0}, {"order": "joint"}])
def test_the_search_is_at_least_as_good_as_the_best_prior(changes: dict[str, Any]) -> None:
    search = run(CURVES, **changes)
    assert list(search.prior_trials) == ["falling", "uniform", "rising"]
    best = search.prior_trials["falling"]
    assert (best.phase, best.sequences, best.name) == ("prior", 4, "")
    assert min(trial.objectives["kl"] for trial in search.last_round()) <= best.objectives["kl"]


def test_the_descent_starts_at_the_best_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[torch.Tensor] = []

    class Recorded(RatioDescent):
        def __init__(self, start: torch.Tensor, *arguments: Any) -> None:
            starts.append(start)
            super().__init__(start, *arguments)

    monkeypatch.setattr(run_module, "RatioDescent", Recorded)
    run(CURVES, ratio_scope="decoder_layer")
    assert starts[0].tolist() == pytest.approx(FALLING, abs=0.02)


def test_the_algorithm_starts_at_the_best_prior_without_a_descent() -> None:
    search = run(CURVES, ratio_scope="decoder_layer", descent_steps=0)
    first = next(trial for trial in search.trials if trial.phase == "ratios")
    assert first.candidate.sparsity_ratios["all"] == pytest.approx(FALLING, abs=0.02)


def test_without_priors_the_ratios_start_at_the_target() -> None:
    search = run({})
    assert search.prior_trials == {}
    assert all(trial.phase != "prior" for trial in search.trials)


def test_priors_do_not_count_as_trials_but_take_time() -> None:
    plain, begun = run({}, descent_steps=0), run(CURVES, descent_steps=0)
    searched = [[trial for trial in each.trials if trial.phase == "ratios"] for each in (plain, begun)]
    assert len(searched[0]) == len(searched[1])
    budget = {"trials": None, "budget": "1000s", "descent_steps": 0}
    quick, slow = (run(CURVES, seconds=seconds, **budget) for seconds in (0.0, 100.0))
    counts = [sum(trial.phase == "ratios" for trial in each.trials) for each in (quick, slow)]
    assert counts[0] - counts[1] == 10


def test_priors_are_computed_once_for_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "journal.jsonl"
    first = make_priors(SearchParameters(), LAYERS, STATISTICS, HALF, Journal(journal))
    assert {"uniform", "owl", "dlp", "alphapruning"} < first.curves.keys()
    assert first.seconds > 0
    monkeypatch.setattr(priors_module, "prior_curves", lambda *_: pytest.fail("computed again"))
    assert make_priors(SearchParameters(), LAYERS, STATISTICS, HALF, Journal(journal)) == first


@pytest.mark.parametrize(("sparsity", "changes"), [("2:4", {}), ("0.5", {"ratio_scope": "none"})])
def test_fixed_ratios_have_no_priors(sparsity: str, changes: dict[str, Any]) -> None:
    parameters = SearchParameters(**changes)
    assert make_priors(parameters, LAYERS, STATISTICS, parse_pattern(sparsity), Journal()).curves == {}


def test_the_recipe_and_the_log_name_the_priors(caplog: pytest.LogCaptureFixture) -> None:
    parameters = SearchParameters(trials=20, ratio_priors=["uniform", "owl"])
    with caplog.at_level(logging.INFO, logger="optishear.searching"):
        result = run_search(MODEL, {"": random_calibration()}, STATISTICS, parameters, HALF, progress=False)
    values = result.recipe.origin["ratio_priors"]
    assert set(values) == {"uniform", "owl"}
    assert list(values.values()) == sorted(values.values())
    (line,) = [record.getMessage() for record in caplog.records if "ratio priors" in record.getMessage()]
    assert line.index(next(iter(values))) < line.index(list(values)[1])
    rows = [row for row in result.trials.to_pylist() if row["stage"] == "prior"]
    assert {row["kl"] for row in rows} <= set(values.values())


def test_named_metrics_keep_their_names_beside_the_priors() -> None:
    search = run(CURVES, order="joint")
    last = [trial for trial in search.last_round() if trial.name == "wanda"]
    assert [str(trial.candidate.metrics["all"]) for trial in last] == [str(WANDA)]
