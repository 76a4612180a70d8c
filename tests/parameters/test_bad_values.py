"""Values that no run can use are refused when they are read, wherever they can be given."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from flows.parameters.pipeline import PipelineParameters
from flows.registry import FLOWS
from optishear.errors import InputError
from optishear.parameters.base import Parameters
from optishear.parameters.read import read_parameters
from wording import refused

_GROUPS = [pytest.param(entry.parameters, id=entry.command) for entry in FLOWS]


def _fields(group: type[Parameters], *kinds: type) -> list[str]:
    """The fields of a group whose defaults are of these kinds; true and false are no numbers."""
    return [name for name, field in group.model_fields.items() if type(field.default) in kinds]


def _given(group: type[Parameters], name: str, value: Any, tmp_path: Path) -> Parameters:
    """The parameters with one value, with what the group requires beside it."""
    given = {
        field: {"sparsity": "0.5", "output": tmp_path}.get(field, "text.txt")
        for field, info in group.model_fields.items()
        if info.is_required()
    }
    return read_parameters(group, {**given, name: value})


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan], ids=str)
@pytest.mark.parametrize("group", _GROUPS)
def test_numbers_are_finite(group: type[Parameters], value: float, tmp_path: Path) -> None:
    for name in _fields(group, int, float):
        with refused(name):
            _given(group, name, value, tmp_path)


@pytest.mark.parametrize("group", _GROUPS)
def test_counts_have_a_limit(group: type[Parameters], tmp_path: Path) -> None:
    for name in _fields(group, int):
        for value in (-1, 10**30):
            with refused(name):
                _given(group, name, value, tmp_path)


@pytest.mark.parametrize("group", _GROUPS)
def test_true_is_no_number_and_no_text(group: type[Parameters], tmp_path: Path) -> None:
    for name in _fields(group, int, float, str):
        with refused(name):
            _given(group, name, True, tmp_path)


_TEXTS = {
    "NUL": "a\0b",
    "surrogate": "a\ud800b",
    "line": "a\n",
    "escape": "\x1b[31m",
    "direction": "a\u202eb",
    "empty": "",
    "blank": " ",
    "long": "a/" * 5000,
}


@pytest.mark.parametrize("value", _TEXTS.values(), ids=_TEXTS)
@pytest.mark.parametrize("group", _GROUPS)
def test_texts_name_something_and_can_be_shown(group: type[Parameters], value: str, tmp_path: Path) -> None:
    texts = [name for name, field in group.model_fields.items() if re.search(r"\bstr\b|Path", str(field.annotation))]
    for name in texts:
        for given in (value, ["a", value]):
            with pytest.raises(InputError) as caught:
                _given(group, name, given, tmp_path)
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("group", _GROUPS)
def test_rates_are_more_than_what_is_rounded_to_zero(group: type[Parameters], tmp_path: Path) -> None:
    for name in {"ratio_step", "tuning_rate", "recovery_rate", "reconstruction_damping"} & group.model_fields.keys():
        with refused(name):
            _given(group, name, 1e-30, tmp_path)


@pytest.mark.parametrize("output", ["x" * 300, "y/" * 3000])
def test_a_name_beyond_what_file_systems_take_is_refused(output: str) -> None:
    with refused("output"):
        read_parameters(PipelineParameters, {"sparsity": "0.5", "output": output})


@pytest.mark.parametrize(
    ("written", "meant"), [(70, "0.7"), ("70", "0.7"), ("70%", "0.7"), ("2.5 %", "0.025"), (50.0, "0.5")]
)
def test_a_percentage_is_answered_with_its_fraction(written: object, meant: str) -> None:
    with refused(meant):
        read_parameters(PipelineParameters, {"sparsity": written})


@pytest.mark.parametrize("group", _GROUPS)
def test_numbers_have_a_limit(group: type[Parameters], tmp_path: Path) -> None:
    # A limit of a champion may be meant never to be reached.
    free = {"champion_max_perplexity_increase", "champion_max_task_drop"}
    for name, field in group.model_fields.items():
        if "float" in str(field.annotation) and name not in free:
            with refused(name):
                _given(group, name, 1e300, tmp_path)


@pytest.mark.parametrize("group", _GROUPS)
def test_durations_have_a_limit(group: type[Parameters], tmp_path: Path) -> None:
    for name, field in group.model_fields.items():
        if "Duration" in str(field.annotation):
            with refused(name):
                _given(group, name, "999999999999w", tmp_path)
            assert getattr(_given(group, name, "520w", tmp_path), name).seconds == 520 * 604800


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_an_experiment_has_a_name(name: str) -> None:
    with refused("experiment", repr(name)):
        read_parameters(PipelineParameters, {"sparsity": "0.5", "experiment": name})
