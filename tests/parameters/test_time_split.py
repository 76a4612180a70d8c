"""The split of a run's time is exact, and given parts stay as they are."""

from pathlib import Path
from typing import Any

import pytest

from flows.parameters.pipeline import PipelineParameters
from flows.parameters.sweep import SweepParameters, pipelines_of
from optishear.parameters.read import read_parameters
from optishear.parameters.time_split import TimeSplit, split, with_parts
from optishear.units import Duration, parse_duration
from wording import refused

DEFAULT = parse_duration("30m")
PAPER = Path(__file__).parents[2] / "configurations" / "paper.yaml"


def seconds(duration: Duration | None) -> float | None:
    return duration and duration.seconds


def planned(**given: Any) -> PipelineParameters:
    return with_parts(read_parameters(PipelineParameters, given), DEFAULT)


@pytest.mark.parametrize(
    ("time", "recovers", "sparsegpt", "expected"),
    [
        # A fifth for the search; for everything else 35 % of the first hour (40 % with SparseGPT), 10 % of the others.
        ("60s", True, False, TimeSplit(search=12, recovery=27, other=21)),
        ("30m", True, False, TimeSplit(search=360, recovery=810, other=630)),
        ("30m", True, True, TimeSplit(search=360, recovery=720, other=720)),
        ("8h", True, True, TimeSplit(search=5760, recovery=19080, other=3960)),
        ("8h", False, False, TimeSplit(search=25020, recovery=0, other=3780)),
    ],
)
def test_the_split_is_exact(time: str, recovers: bool, sparsegpt: bool, expected: TimeSplit) -> None:
    duration = parse_duration(time)
    assert split(duration, recovers, sparsegpt) == expected
    assert expected.search + expected.recovery + expected.other == duration.seconds


@pytest.mark.parametrize(
    ("given", "budget", "recovery", "tokens", "reconstruction"),
    [
        ({}, 360, 720, None, "admm"),
        ({"compare_sparsegpt": False}, 360, 810, None, "admm"),
        ({"time": "8h"}, 5760, 19080, None, "admm"),
        ({"time": "8h", "budget": "3m"}, 180, 19080, None, "admm"),
        ({"time": "8h", "trials": 9}, None, 19080, None, "admm"),
        ({"time": "8h", "recovery_budget": "1h"}, 5760, 3600, None, "admm"),
        ({"time": "8h", "recovery_tokens": 99}, 5760, None, 99, "admm"),
        ({"time": "8h", "reconstruction": "sparsegpt"}, 5760, 19080, None, "sparsegpt"),
        ({"time": "8h", "reconstruction": "none"}, 5760, 19080, None, "none"),
        ({"time": "8h", "recovery": False}, 24840, None, None, "admm"),
        ({"time": "8h", "masks_only": True}, 25020, None, None, "none"),
        ({"masks_only": True}, None, None, None, "none"),
    ],
)
def test_given_parts_replace_their_share(
    given: dict[str, Any], budget: int | None, recovery: int | None, tokens: int | None, reconstruction: str
) -> None:
    parameters = planned(**given)
    assert (seconds(parameters.budget), seconds(parameters.recovery_budget)) == (budget, recovery)
    assert (parameters.recovery_tokens, parameters.reconstruction) == (tokens, reconstruction)
    assert with_parts(parameters, parse_duration("2h")) == parameters


def test_the_paper_is_masks_by_trials() -> None:
    given = read_parameters(PipelineParameters, {}, PAPER)
    parameters = with_parts(given, DEFAULT)
    assert parameters == given.model_copy(update={"reconstruction": "none", "compare_sparsegpt": False})
    assert not parameters.reconstructs
    assert not parameters.recovers
    assert (parameters.trials, parameters.budget, parameters.time) == (300, None, None)


@pytest.mark.parametrize(
    ("given", "compared"),
    [
        ({}, True),
        ({"compare_sparsegpt": False}, False),
        ({"reconstruction": "none"}, True),
        ({"reconstruction": "none", "recovery": False}, False),
        ({"reconstruction": "none", "recovery": False, "tuning_steps": 2}, True),
        ({"masks_only": True}, False),
        ({"masks_only": True, "time": "8h"}, False),
        ({"masks_only": True, "compare_sparsegpt": True}, True),
    ],
)
def test_sparsegpt_is_compared_where_the_weights_change(given: dict[str, Any], compared: bool) -> None:
    parameters = planned(**given)
    assert parameters.compare_sparsegpt is compared
    assert parameters.with_sparsegpt is compared


def test_each_sparsity_of_a_sweep_has_the_time() -> None:
    swept = read_parameters(SweepParameters, {"sparsities": ["0.5", "2:4"], "time": "8h"})
    runs = [with_parts(run, DEFAULT) for run in pipelines_of(swept).values()]
    assert [seconds(run.recovery_budget) for run in runs] == [19080, 19080]
    assert [run.reconstruction for run in runs] == ["admm", "admm"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"time": "59s"}, ("59s", "60s")),
        ({"masks_only": True, "reconstruction": "admm"}, ("masks_only", "reconstruction")),
        ({"masks_only": True, "recovery_budget": "1h"}, ("masks_only", "recovery_budget")),
        ({"recovery": False, "recovery_tokens": 9}, ("recovery off", "recovery_tokens")),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any], named: tuple[str, ...]) -> None:
    with refused(*named):
        planned(**given)
