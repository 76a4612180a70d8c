"""What a candidate was measured on is not run again."""

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from optishear.divergence.model_divergence import ModelDivergence
from optishear.metrics.metric import RIA, WANDA
from optishear.models.layers import prunable_layers
from optishear.pattern import parse_pattern
from optishear.search_space.candidate import Candidate, make_candidate
from optishear.searching import evaluator, measuring
from optishear.searching.evaluator import CandidateEvaluator
from optishear.searching.journal import Journal
from optishear.searching.masked_weights import MaskedWeights
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model

SETS = {"": random_calibration(5, 24), "math": random_calibration(4, 16, seed=7)}


class Bench:
    """An evaluator of a tiny model, and how many sequences went through each set's passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...] = ("",), journal: Path | None = None):
        self.passed: list[tuple[int, int]] = []
        model = tiny_model()
        self.layers = prunable_layers(model)
        self.pattern = parse_pattern("0.5")
        self.errors = {name: ModelDivergence(model, SETS[name].tokens, ("kl",)) for name in sets}
        statistics = collect_statistics(model, SETS[""], progress=False)
        self.weights = MaskedWeights(self.layers, statistics, self.pattern, 1e9)
        self.journal = journal
        for name in ("measure_sequences", "backward"):
            method = getattr(ModelDivergence, name)

            def counting(
                error: ModelDivergence, first: int, count: int, *rest: object, method: object = method
            ) -> object:
                self.passed.append((first, count))
                return method(error, first, count, *rest)  # type: ignore[operator]

            monkeypatch.setattr(ModelDivergence, name, counting)
        ticks = count()
        for module in (evaluator, measuring):
            monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))

    def evaluator(self) -> CandidateEvaluator:
        return CandidateEvaluator(self.layers, self.weights, self.errors, Journal(self.journal), self.pattern)

    def candidate(self, metric: object = WANDA) -> Candidate:
        return make_candidate(self.layers, self.pattern, {"all": metric})  # type: ignore[dict-item]


@pytest.mark.parametrize("sets", [("",), ("", "math")])
def test_a_candidate_on_more_tokens_is_run_on_the_new_ones_alone(
    sets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(monkeypatch, sets)
    whole, stepwise = bench.evaluator(), bench.evaluator()
    expected = {sequences: bench.evaluator().measure(bench.candidate(), sequences) for sequences in (1, 2, 4)}
    bench.passed.clear()
    found = {sequences: stepwise.measure(bench.candidate(), sequences) for sequences in (1, 2, 4)}
    assert bench.passed == [pair for pair in [(0, 1), (1, 1), (2, 2)] for _ in sets]
    for sequences, values in found.items():
        assert values == {name: pytest.approx(value, rel=1e-5) for name, value in expected[sequences].items()}
    # Fewer tokens than before cost nothing, neither in this search nor in its budget.
    bench.passed.clear()
    again = stepwise.measure(bench.candidate(), 2)
    assert again == {**found[2], "seconds": 0.0}
    assert not bench.passed
    assert whole.measure(bench.candidate(), 4)["seconds"] == len(sets)


def test_the_seconds_of_a_kept_measurement_count_once_in_every_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(monkeypatch, journal=tmp_path / "journal.jsonl")
    first = [bench.evaluator().measure(bench.candidate(), 4)]
    one = bench.evaluator()
    second = [one.measure(bench.candidate(), 2), one.measure(bench.candidate(), 4), one.measure(bench.candidate(), 4)]
    assert bench.passed == [(0, 4)]
    assert first[0]["seconds"] == 1.0
    assert [each["seconds"] for each in second] == [0.5, 0.5, 0.0]
    assert second[1]["kl"] == first[0]["kl"]


def test_a_pass_for_the_costs_measures_the_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, journal=tmp_path / "journal.jsonl")
    expected = {metric: bench.evaluator().measure(bench.candidate(metric), 3) for metric in (WANDA, RIA)}
    for known in (0, 2):
        bench.journal = tmp_path / f"{known}.jsonl"
        made = bench.evaluator()
        if known:
            made.measure(bench.candidate(RIA), known)
        bench.passed.clear()
        costs, seconds = made.marginal_costs(bench.candidate(RIA), 0, 3)
        assert len(costs) == len(bench.layers)
        assert seconds == 1.0
        measured = made.measure(bench.candidate(RIA), 3)
        assert bench.passed == [(0, 3)]
        assert measured["seconds"] == 0.0
        assert measured["kl"] == pytest.approx(expected[RIA]["kl"], rel=1e-5)
        # Neither is done again, and costs on other sequences measure nothing.
        assert made.marginal_costs(bench.candidate(RIA), 0, 3) == (costs, seconds)
        made.marginal_costs(bench.candidate(WANDA), 3, 2)
        made.measure(bench.candidate(WANDA), 1)
        assert bench.passed == [(0, 3), (3, 2), (0, 1)]
    assert torch.isfinite(torch.tensor(costs)).all()
