"""No list forgets a flow."""

import ast
import re
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
import yaml
from prefect import Flow

from flows.command_line.main import cli
from flows.registry import FLOWS, FlowEntry
from tasks.tracking.parameters import TrackedParameters

REPOSITORY = Path(__file__).parents[2]
# Their flows are the stages that need a GPU, which no user runs.
STAGES = {"gpu_stages"}


def flow_modules() -> set[str]:
    """The modules of ``flows`` with a function that Prefect's decorator makes a flow."""
    modules = set()
    for path in (REPOSITORY / "flows").glob("*.py"):
        functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        if any("flow" in ast.unparse(decorator) for node in functions for decorator in node.decorator_list):
            modules.add(path.stem)
    return modules


def test_every_flow_is_registered_once() -> None:
    assert sorted(entry.module for entry in FLOWS) == sorted(flow_modules() - STAGES)
    assert len({entry.command for entry in FLOWS}) == len(FLOWS)


@pytest.mark.parametrize("entry", FLOWS, ids=lambda entry: entry.command)
def test_the_module_has_the_flow_over_its_parameters(entry: FlowEntry) -> None:
    flow = getattr(import_module(f"flows.{entry.module}"), entry.module)
    assert isinstance(flow, Flow)
    assert [parameter.annotation for parameter in signature(flow.fn).parameters.values()] == [entry.parameters]


@pytest.mark.parametrize("entry", FLOWS, ids=lambda entry: entry.command)
def test_the_help_is_the_docstring_and_has_an_example(entry: FlowEntry) -> None:
    command = cli.commands[entry.command]
    assert command.help == entry.help == (import_module(f"flows.{entry.module}").__doc__ or "").strip()
    assert f"optishear {entry.command} " in entry.help


def test_every_tracked_flow_is_named_by_the_page_of_the_tracking() -> None:
    section = (REPOSITORY / "docs" / "tracking.md").read_text().split("## Runs")[1].split("\n|")[0]
    tracked, untracked = section.split("per sparsity")
    named = set(re.findall(r"`([a-z-]+)`", tracked))
    assert {entry.command for entry in FLOWS if issubclass(entry.parameters, TrackedParameters)} <= named
    assert {entry.command for entry in FLOWS if not issubclass(entry.parameters, TrackedParameters)} <= named | set(
        re.findall(r"`([a-z-]+)`", untracked)
    )


def test_every_flow_in_the_deployments_exists() -> None:
    plan = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    entrypoints = [each["entrypoint"].removeprefix("flows.") for each in plan["deployments"]]
    modules = {entry.module for entry in FLOWS}
    own = [each for each in entrypoints if each.split(".")[0] not in STAGES]
    assert {each.split(".")[0] for each in own} <= modules
    assert all(each.split(".")[0] == each.split(".")[1] for each in own)
