"""One recipe for several models."""

from pathlib import Path
from typing import Any

import pytest
import torch

from optishear.divergence.model_divergence import ModelDivergence
from optishear.errors import InputError
from optishear.metrics.metric import WANDA
from optishear.models.layers import prunable_layers
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.recipes.layer_ratios import layer_ratios
from optishear.search_space.candidate import make_candidate
from optishear.searching.evaluator import CandidateEvaluator
from optishear.searching.search import SearchResult, run_search
from optishear.searching.universal import Member, decode, map_by_depth, search_universal
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model

SEQUENCES = 4


def member(name: str, family: str, layers: int, journal: Path | None = None) -> Member:
    model = tiny_model(family, layers=layers, seed=len(name))
    calibration = random_calibration(8, 32, seed=len(name))
    return Member(name, model, calibration, collect_statistics(model, calibration, progress=False), journal)


def parameters(**changes: Any) -> SearchParameters:
    return SearchParameters(**{"trials": 60, "population": 8, "search_sequences": SEQUENCES, **changes})


def search(members: list[Member], sparsity: str = "0.5", **changes: Any) -> SearchResult:
    return search_universal(members, parameters(**changes), parse_pattern(sparsity), progress=False)


@pytest.fixture
def members() -> list[Member]:
    return [member("shallow", "llama", 2), member("deep-opt", "opt", 4)]


@pytest.mark.parametrize(
    ("sparsity", "changes"),
    [
        ("0.5", {}),
        ("0.5", {"metric_scope": "kind", "ratio_scope": "decoder_layer"}),
        ("0.6", {"metric_space": "meta", "metric_scope": "model", "order": "joint"}),
        ("2:4", {"metric_scope": "kind"}),
    ],
)
def test_one_recipe_meets_the_target_in_every_model_and_its_worst_ratio_to_wanda_is_smallest(
    members: list[Member], sparsity: str, changes: dict[str, Any]
) -> None:
    dense = {each.name: {k: v.clone() for k, v in each.model.state_dict().items()} for each in members}
    errors = {each.name: ModelDivergence(each.model, each.calibration.tokens[:SEQUENCES], ("kl",)) for each in members}
    result = search(members, sparsity, **changes)
    for each in members:
        assert all(torch.equal(value, dense[each.name][key]) for key, value in each.model.state_dict().items())

    rows = [row for row in result.trials.to_pylist() if row["sequences"] == SEQUENCES]
    (wanda,) = [row for row in rows if row["name"] == "wanda"][-1:]
    (chosen,) = [row for row in rows if row["chosen"]]
    names = [f"kl/{each.name}" for each in members]
    worst = {row["trial"]: max(row[name] / wanda[name] for name in names) for row in rows}
    assert worst[chosen["trial"]] == min(worst.values()) <= 1

    # What was measured in the search is what the recipe does to each model.
    for each in members:
        summary = apply_recipe(each.model, result.recipe, each.statistics)
        assert summary.achieved_sparsity == pytest.approx(parse_pattern(sparsity).fraction, abs=0.002)
        assert errors[each.name].measure()["kl"] == pytest.approx(chosen[f"kl/{each.name}"], rel=1e-4)


def test_a_candidate_is_decoded_as_its_recipe_is_applied(members: list[Member]) -> None:
    deep, shallow = (prunable_layers(members[index].model) for index in (1, 0))
    pattern = parse_pattern("0.5")
    ratios = [0.3 + 0.1 * layer.decoder_layer for layer in deep]
    candidate = make_candidate(deep, pattern, {"all": WANDA}, ratios)
    decoded = decode(candidate, shallow, pattern)
    assert decoded.achieved_sparsity == pytest.approx(0.5, abs=0.005)
    wished = layer_ratios(candidate.recipe("", pattern), shallow)
    for layer, ratio, count in zip(shallow, wished, decoded.pruned_per_row, strict=True):
        assert abs(count - ratio * layer.module.in_features) <= 1
    assert decode(make_candidate(deep, pattern, {"all": WANDA}), shallow, pattern).key == (
        make_candidate(shallow, pattern, {"all": WANDA}).key
    )


def test_values_are_mapped_by_path_and_relative_depth(members: list[Member]) -> None:
    four = prunable_layers(tiny_model("llama", layers=4))
    two = prunable_layers(tiny_model("llama", layers=2))
    values = [float(layer.decoder_layer) for layer in four]
    # The centres of two layers lie between the first two and the last two of four.
    mapped = map_by_depth(values, four, two)
    assert {(layer.decoder_layer, value) for layer, value in zip(two, mapped, strict=True)} == {(0, 0.5), (1, 2.5)}
    assert map_by_depth(values, four, four) == values
    opt = prunable_layers(tiny_model("opt", layers=4))
    by_path = [1.0 if layer.name.endswith("fc1") else 0.0 for layer in opt]
    mapped = map_by_depth(by_path, opt, four)
    shares = {layer.name.split(".")[-1]: value for layer, value in zip(four, mapped, strict=True)}
    # OPT has fc1 among six paths; Llama's own paths that it has keep their values.
    assert shares["q_proj"] == 0
    assert shares["down_proj"] == pytest.approx(1 / 6)


def test_a_models_own_measurements_serve_the_universal_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [member("one", "llama", 2, tmp_path / "one.jsonl"), member("second", "llama", 2, tmp_path / "second.jsonl")]
    one = both[0]
    run_search(
        one.model, {"": one.calibration}, one.statistics, parameters(trials=20), parse_pattern("0.5"),
        journal=one.journal, progress=False,
    )  # fmt: skip
    measured: list[int] = []
    for name in ("measure_sequences", "backward"):
        method = getattr(ModelDivergence, name)

        def counting(
            error: ModelDivergence, first: int = 0, count: int | None = None, *rest: Any, method: Any = method
        ) -> Any:
            # Held-out sequences, which every search goes through, are asked for without a count.
            if count is not None:
                measured.append(id(error))
            return method(error, first, count, *rest)

        monkeypatch.setattr(ModelDivergence, name, counting)
    search(both, trials=20)
    # The first model has measured the named metrics and the descent's start before.
    counts = {error: measured.count(error) for error in set(measured)}
    assert len(counts) == 2
    assert len(set(counts.values())) == 2
    before = len(measured)
    search(both, trials=20)
    assert len(measured) == before


def test_a_time_budget_buys_as_many_trials_as_a_search_on_one_model(
    members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = CandidateEvaluator.measure
    monkeypatch.setattr(CandidateEvaluator, "measure", lambda *asked: {**measure(*asked), "seconds": 1.0})
    settings: dict[str, Any] = {
        "algorithm": "random", "order": "joint", "rounds": 1, "trials": None, "budget": "20s",
    }  # fmt: skip
    alone = run_search(
        members[0].model, {"": members[0].calibration}, members[0].statistics, parameters(**settings),
        parse_pattern("0.5"), progress=False,
    )  # fmt: skip
    shared = search(members, **settings)
    assert alone.trials.num_rows == shared.trials.num_rows == 20
    assert sum(shared.trials["seconds"].to_pylist()) == 40


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sparsity_budget": "objective"}, "needs sparsity_budget exact"),
        ({"search_calibrations": ["math=gsm8k.jsonl"]}, "does not support search_calibrations"),
        ({"reconstructed_finalists": 2}, "does not support reconstructed_finalists"),
    ],
)
def test_what_it_does_not_do_is_refused(members: list[Member], changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        search(members, **changes)


def test_a_set_that_is_too_small_is_named(members: list[Member]) -> None:
    with pytest.raises(InputError, match="'deep-opt' has 8 sequences"):
        search(members[1:] + members[:1], search_sequences=9)
