"""The default time of a device, and the words on what a night would bring."""

import pytest

from flows.parameters.pipeline import PipelineParameters
from flows.shared import planned_time
from flows.shared.planned_time import time_in_words, with_planned_time
from optishear.timing.stage_times import recover_seconds, recovered_tokens
from speeds import speed


@pytest.mark.parametrize(("pool", "time"), [(False, "30m"), (True, "2h")])
def test_the_default_is_that_of_where_the_stages_run(pool: bool, time: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned_time, "uses_deployments", lambda _: pool)
    assert str(with_planned_time(PipelineParameters(device="cpu")).time) == time
    assert str(with_planned_time(PipelineParameters(device="cpu", time="3h")).time) == "3h"


def test_tokens_and_seconds_of_a_recovery_agree() -> None:
    measured = speed()
    of_tokens = PipelineParameters(recovery_tokens=100_000)
    around = recover_seconds(measured, PipelineParameters(recovery_budget="1s"), 512) - 1
    seconds = recover_seconds(measured, of_tokens, 512) - around
    assert recovered_tokens(measured, seconds, of_tokens, 512) == pytest.approx(100_000, abs=1)
    assert recovered_tokens(measured, 0.0, of_tokens, 512) == 0


def test_the_words_name_the_parts_and_a_night() -> None:
    parameters = with_planned_time(PipelineParameters(device="cpu"))
    measured = speed()
    words = time_in_words(parameters, measured, 1800.0)
    tokens = [f"{recovered_tokens(measured, seconds, parameters, 512):,}" for seconds in (720.0, 19080.0)]
    for part in ("30m", "6 min", "12 min", "8h", *tokens):
        assert part in words


def test_a_time_that_is_too_short_is_said() -> None:
    parameters = with_planned_time(PipelineParameters(device="cpu", time="8h"))
    assert time_in_words(parameters, speed(), 36000.0).endswith("longer than this time: 10 h.")
    assert "longer" not in time_in_words(parameters, speed(), 28800.0)
    assert time_in_words(with_planned_time(PipelineParameters(masks_only=True)), speed(), 1e6) == ""
