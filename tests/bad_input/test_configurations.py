"""Configurations and plans of every command: parameters that are read again from their own text, or one sentence."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bad_input.attack import attack, result_of
from bad_input.strategies import ANYTHING, DATES, changed, damaged, nested
from flows.registry import FLOWS
from flows.shared.nightly_plan import read_plan
from optishear.evaluation.suite import find_suite
from optishear.parameters.base import Parameters
from optishear.parameters.read import read_parameters

_GROUPS = [pytest.param(entry.parameters, id=entry.command) for entry in FLOWS]
_VALUES = ANYTHING | nested(DATES)
_PLAN = {
    "defaults": {"sparsity": "2:4", "time": "1h", "output": "night", "trials": 30},
    "runs": [{"model": "a/b", "recovery_budget": "10m"}, {"model": "package:c", "sparsity": 0.6, "output": "own"}],
}
_SUITE = {"description": "Reasoning", "tasks": ["arc_easy", "piqa"], "fewshot": 0}


def _valid(group: type[Parameters]) -> dict[str, Any]:
    required = {"sparsity": "0.5", "output": "out"}
    return {name: required.get(name, "text.txt") for name, field in group.model_fields.items() if field.is_required()}


@pytest.mark.parametrize("group", _GROUPS)
@given(data=st.data())
@attack(40)
def test_a_configuration(group: type[Parameters], data: st.DataObject, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    names = st.lists(st.sampled_from(sorted(group.model_fields)), min_size=1, max_size=3)
    given_values = {**_valid(group), **{name: data.draw(_VALUES) for name in data.draw(names)}}
    file.write_text(yaml.safe_dump(given_values), encoding="utf-8")
    parameters = result_of(lambda: read_parameters(group, {}, file))
    if parameters is not None:
        written = parameters.model_dump(mode="json")
        assert read_parameters(group, written) == parameters
        assert all(math.isfinite(value) for value in written.values() if isinstance(value, float))


@pytest.mark.parametrize("group", _GROUPS)
@given(content=damaged(b"sparsity: '2:4'\noutput: pruned\ntasks: [piqa]\ntrials: 300\n"))
@attack(20)
def test_a_damaged_configuration(group: type[Parameters], content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    result_of(lambda: read_parameters(group, {}, file))


@given(content=changed(_PLAN, _VALUES))
@attack(150)
def test_a_plan(content: Any, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    planned = result_of(lambda: read_plan(file))
    outputs = [run.parameters.output for run in planned or []]
    assert planned is None or 0 < len(set(outputs)) == len(outputs)


@given(content=changed(_SUITE, _VALUES))
@attack(60)
def test_a_suite(content: Any, tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    result_of(lambda: find_suite(str(file)))
