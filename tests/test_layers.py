"""The import contracts of pyproject.toml: an import in the wrong direction breaks the contract that forbids it."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("optishear", "tasks", "flows")
# For each contract a module, and an import that it must not have.
PROBES = {
    "flows over tasks over the library": ("tasks.store.keys", "flows.parameters.output"),
    "the library knows nothing of Prefect and MLflow": ("optishear.pattern", "prefect"),
    "the layers of the library": ("optishear.metrics.score", "optishear.models.digest"),
    "algorithms below the search that runs them": ("optishear.searching.algorithms.base", "optishear.searching.run"),
    "the layers of the tasks": ("tasks.store.keys", "tasks.stages.prune"),
    "the command line over the flows over what they share": ("flows.parameters.output", "flows.prune"),
    "parameters are light": ("optishear.parameters.base", "torch"),
}


def lint(folder: Path) -> str:
    """The report on the packages in a folder."""
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    ).stdout


def verdicts(report: str) -> dict[str, str]:
    """KEPT or BROKEN by the name of the contract."""
    return dict(re.findall(r"^(.+) (KEPT|BROKEN)$", report, flags=re.MULTILINE))


def explanation(report: str, contract: str) -> str:
    """What the report says of a broken contract."""
    _, _, rest = report.partition(f"\n{contract}\n{'-' * len(contract)}\n")
    return re.split(r"\n-{5,}\n", rest)[0]


def test_a_wrong_import_breaks_its_contract(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]] == list(PROBES)

    assert verdicts(lint(tmp_path)) == dict.fromkeys(PROBES, "KEPT")

    for importer, imported in PROBES.values():
        with (tmp_path / importer.replace(".", "/")).with_suffix(".py").open("a", encoding="utf-8") as file:
            file.write(f"\nimport {imported}\n")
    report = lint(tmp_path)
    assert verdicts(report) == dict.fromkeys(PROBES, "BROKEN")
    for contract, (importer, imported) in PROBES.items():
        assert re.search(rf"{re.escape(importer)} -> {re.escape(imported)}\b", explanation(report, contract)), contract
