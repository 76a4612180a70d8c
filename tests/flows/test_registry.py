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


def deployments(pool: str) -> dict[str, str]:
    """Entrypoints of the deployments on a work pool, by name."""
    plan = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    return {each["name"]: each["entrypoint"] for each in plan["deployments"] if each["work_pool"]["name"] == pool}


def documented(pool: str) -> set[str]:
    """The deployments on a work pool, from the table of the page on deployment."""
    page = (REPOSITORY / "docs" / "deployment.md").read_text()
    (row,) = re.findall(rf"^\| `{pool}`[^|]*\|([^|]*)\|", page, flags=re.MULTILINE)
    return set(re.findall(r"`([a-z-]+)`", row))


def test_the_deployments_on_the_cpu_are_those_of_the_registry() -> None:
    modules = [entry.module for entry in FLOWS if entry.deployed]
    expected = {module.replace("_", "-"): f"flows.{module}.{module}" for module in modules}
    assert deployments("cpu") == expected
    assert documented("cpu") == expected.keys()


def test_the_deployments_on_the_gpu_are_those_of_the_stages() -> None:
    flows = {name for name, flow in vars(import_module("flows.gpu_stages")).items() if isinstance(flow, Flow)}
    expected = {name.replace("_", "-"): f"flows.gpu_stages.{name}" for name in flows}
    assert deployments("gpu") == expected
    assert documented("gpu") == expected.keys()
