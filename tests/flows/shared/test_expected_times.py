"""The expected times of the flows' stages."""

from types import SimpleNamespace

import pytest

from flows.parameters.pipeline import PipelineParameters
from flows.parameters.search import SearchFlowParameters
from flows.parameters.transfer import TransferParameters
from flows.shared import expected_times as module
from flows.shared.expected_times import announcement, expected_times
from optishear.errors import HubError, InputError
from optishear.timing.evaluation_work import EvaluationWork
from speeds import speed
from tasks.engine.timetable import Timetable

WORK = EvaluationWork(windows=3)
EVALUATED = ["evaluate dense", "evaluate wanda", "prune", "evaluate pruned", "diagnose"]


def test_a_search_has_three_stages() -> None:
    expected = expected_times(SearchFlowParameters(trials=40), speed(), WORK)
    assert list(expected) == ["calibrate", "statistics", "search"]
    assert all(seconds and seconds > 0 for seconds in expected.values())


def test_text_that_is_read_is_there_before_the_announcement() -> None:
    assert "calibrate" not in expected_times(SearchFlowParameters(calibration="text.txt"), speed(), WORK)


def test_a_run_has_the_stages_in_the_order_in_which_they_run() -> None:
    expected = expected_times(PipelineParameters(trials=40, footprint=False), speed(), WORK)
    assert list(expected) == ["calibrate", "statistics", "search", *EVALUATED, "report"]


def test_reconstruction_and_footprint_add_their_stages() -> None:
    parameters = PipelineParameters(trials=40, reconstruction="admm", compare_sparsegpt=False, footprint=True)
    added = expected_times(parameters, speed(), WORK).keys() - {"calibrate", "statistics", "search", *EVALUATED}
    assert added == {"evaluate masked", "reconstruct", "footprint dense", "footprint pruned", "report"}


def test_sparsegpt_comes_after_wanda_where_the_weights_are_reconstructed() -> None:
    labels = list(expected_times(PipelineParameters(trials=40, reconstruction="admm"), speed(), WORK))
    begin = labels.index("evaluate wanda")
    assert labels[begin : begin + 4] == ["evaluate wanda", "sparsegpt", "evaluate sparsegpt", "prune"]


def test_a_transfer_searches_nothing() -> None:
    assert "search" not in expected_times(TransferParameters(recipe="wanda"), speed(), WORK)


def test_wording_of_the_announcement_with_the_processor_and_every_stage() -> None:
    table = Timetable({"calibrate": 0.0, "search": 220.0, "report": None})
    lines = announcement(table, speed()).splitlines()
    assert lines[0] == "Expected time: about 3 min 40 s, from a pass measured on a processor (float32, 1 threads)"
    assert [line.split("  ")[-1].strip() for line in lines[1:]] == [
        "kept from an earlier run",
        "3 min 40 s",
        "not estimated",
    ]


@pytest.mark.parametrize("error", [HubError("The hub is away"), InputError("bad")])
def test_what_fails_each_stage_is_not_passed_over(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing_with(error, monkeypatch)
    with pytest.raises(type(error)):
        module._timetable(PipelineParameters())


def test_a_pass_that_cannot_be_measured_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing_with(RuntimeError("bug"), monkeypatch)
    assert module._timetable(PipelineParameters()) is None


def _failing_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    stage = SimpleNamespace(label="search", expensive=True, steps=())
    monkeypatch.setattr(module, "planned_stages", lambda _: [stage])
    monkeypatch.setattr(module, "stored_artifacts", lambda _: {})
    monkeypatch.setattr(module, "speed_stage", fail)
