"""The library works without Prefect and MLflow, and help is quick."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Hides packages from the import system, as if they were not installed.
HIDE = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""

LIBRARY = """
import importlib, pkgutil
import optishear

for module in pkgutil.walk_packages(optishear.__path__, "optishear."):
    importlib.import_module(module.name)
for name in ("search", "prune", "Recipe"):
    getattr(optishear, name)
print("imported")
"""

COMMAND = """
from flows.command_line.main import main

main(["run", "--model", "nowhere", "--output", sys.argv[1]])
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300, check=False
    )


def test_the_library_needs_neither_prefect_nor_mlflow() -> None:
    result = python("HIDDEN = {'prefect', 'mlflow', 'tasks', 'flows'}" + HIDE + LIBRARY)
    assert result.stdout == "imported\n", result.stderr


def test_the_command_line_says_how_to_install_what_it_needs(tmp_path: Path) -> None:
    result = python("HIDDEN = {'prefect'}" + HIDE + COMMAND, str(tmp_path / "output"))
    assert result.returncode == 2
    assert "'prefect'" in result.stderr
    assert result.stderr.strip().endswith("pip install 'optishear[pipeline]'")


def test_the_process_of_a_stage_imports_no_server_and_mlflow_only_to_track() -> None:
    code = "import sys, flows.gpu_stages\nprint(sorted({'mlflow', 'prefect.server'} & set(sys.modules)))"
    environment = {**os.environ, "PREFECT__FLOW_RUN_ID": "00000000-0000-0000-0000-000000000000"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.stdout == "[]\n", result.stderr


def test_help_imports_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "prefect", "mlflow", "pymoo", "matplotlib", "lm_eval", "datasets"}
    code = (
        "import sys\nfrom flows.command_line.main import main\n"
        "try:\n    main(['run', '--help'])\nexcept SystemExit:\n    pass\n"
        f"print(sorted(set(sys.modules) & {heavy}))"
    )
    assert python(code).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["run", "search"])
def test_the_command_line_is_a_module_to_run(command: str) -> None:
    arguments = [sys.executable, "-m", "flows.command_line", command, "--sparsity", "1.5"]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("Error: The sparsity '1.5' is neither")
