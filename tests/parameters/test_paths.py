"""A leading ~ is the user's home folder in every parameter that names a file or a folder."""

from pathlib import Path
from typing import Any

import pytest

from flows.command_line.options import config_option
from flows.parameters.pipeline import PipelineParameters
from flows.registry import FLOWS
from optishear.home import home_folder
from optishear.models.source import resolve_model
from optishear.named_source import NamedModel, NamedSource
from optishear.parameters.base import Parameters
from optishear.parameters.generation import GenerateParameters
from optishear.parameters.read import read_parameters
from optishear.parameters.roles import Role, roles_of
from tasks.tracking.parameters import TrackingParameters
from wording import refused

GROUPS = [GenerateParameters, TrackingParameters, *(entry.parameters for entry in FLOWS)]
# Places that are no path: devices, numbers and names.
NAMES = {"device", "placement", "experiment", "registered_model", "memory_budget", "parallel_cells", "workers"} | {
    "champion_max_perplexity_increase",
    "champion_max_task_drop",
}
FIELDS = [
    (group, name)
    for group in GROUPS
    for name in group.model_fields
    if name == "plan" or (name in roles_of(group) and name not in NAMES)
]


def _given(name: str, path: str) -> Any:
    named = ("search_calibrations", "other_calibrations", "recovery_texts")
    lists = {**dict.fromkeys(named, f"one={path}"), "other_models": path}
    return [lists[name]] if name in lists else path


def _path(value: Any) -> str:
    item = value[0] if isinstance(value, list) else value
    return item.source if isinstance(item, NamedSource | NamedModel) else str(item)


@pytest.fixture(autouse=True)
def user_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    return tmp_path / "user"


@pytest.mark.parametrize(("group", "name"), FIELDS, ids=lambda each: getattr(each, "__name__", each))
def test_a_tilde_is_the_home_folder(group: type[Parameters], name: str, user_home: Path) -> None:
    parameters = read_parameters(group, {name: _given(name, "~/there")})
    assert _path(getattr(parameters, name)) == str(user_home / "there")


def test_every_kind_of_source_is_among_them() -> None:
    roles = {roles_of(group)[name] for group, name in FIELDS if name != "plan"}
    assert roles == set(Role)
    assert {name for _, name in FIELDS} >= {"output", "recipe", "plan", "include_path", "suite", "tracking_uri"}


def test_a_model_with_a_name_of_its_own_is_expanded(user_home: Path) -> None:
    from flows.parameters.cross_model import CrossModelParameters

    parameters = CrossModelParameters(other_models=["small=~/there"])
    assert parameters.other_models == [NamedModel("small", str(user_home / "there"))]


def test_a_tilde_elsewhere_is_part_of_a_name() -> None:
    assert PipelineParameters(output="a/~b").output == Path("a/~b")


@pytest.mark.parametrize("name", ["output", "model"])
def test_the_name_of_no_user_is_refused(name: str) -> None:
    with refused("~nobody-of-this-name/x", name):
        read_parameters(PipelineParameters, {name: "~nobody-of-this-name/x"})


def test_a_model_in_the_folder_of_no_user_is_refused() -> None:
    with refused("~nobody-of-this-name/x"):
        resolve_model("~nobody-of-this-name/x")


def test_a_configuration_is_found_there(user_home: Path) -> None:
    assert config_option().type_cast_value(None, "~/run.yaml") == user_home / "run.yaml"


def test_the_folder_of_all_runs_is_expanded(user_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTISHEAR_HOME", "~/kept")
    assert home_folder() == user_home / "kept"
    monkeypatch.setenv("OPTISHEAR_HOME", "~nobody-of-this-name/x")
    with refused("OPTISHEAR_HOME"):
        home_folder()
