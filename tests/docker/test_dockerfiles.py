"""The Dockerfiles: what the linter says, who runs what is in them, and what gets in."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from flows.parameters.output import OutputParameters

from .conftest import ROOT, Services, tool

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
per_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments."""
    with path.open("rb") as file:
        return [(item["instruction"], item["value"]) for item in DockerfileParser(fileobj=file).structure]


def stages(path: Path) -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage by its name, after those of the stage that it goes on from."""
    found: dict[str, list[tuple[str, str]]] = {}
    for instruction, value in instructions(path):
        if instruction == "FROM":
            base, _, name = value.partition(" AS ")
            current = found[name] = list(found.get(base, []))
        elif instruction != "COMMENT":
            current.append((instruction, value))
    return found


@per_dockerfile
def test_the_linter_finds_nothing(path: Path) -> None:
    result = subprocess.run([tool("hadolint"), "--no-color", str(path)], capture_output=True, text=True)
    assert result.stdout == ""
    assert result.returncode == 0, result.stderr


@per_dockerfile
def test_bases_have_a_version(path: Path) -> None:
    names = set(stages(path))
    bases = [value.split()[0] for instruction, value in instructions(path) if instruction == "FROM"]
    for base in set(bases) - names:
        assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"]
    assert bases[0].startswith(f"python:{version}-")


def test_every_image_is_one_that_the_services_use(services: Services) -> None:
    used = {
        (ROOT / service["build"]["dockerfile"], service["build"].get("target", ""))
        for service in services.values()
        if "build" in service
    }
    assert used == {(path, stage) for path in DOCKERFILES for stage in stages(path)}


@per_dockerfile
def test_none_runs_as_root(path: Path) -> None:
    for name, steps in stages(path).items():
        users = [value for instruction, value in steps if instruction == "USER"]
        [made] = re.findall(r"useradd --uid (\d+)", " ".join(value for _, value in steps))
        assert users[-1:] == [made], name
        assert int(made) > 0


@per_dockerfile
def test_volumes_have_an_owner_before_they_are_mounted(path: Path, services: Services) -> None:
    for name, steps in stages(path).items():
        commands = " && ".join(value for step, value in steps if step == "RUN")
        [owned] = re.findall(r"install --directory --owner=optishear --group=optishear ([^&]+)", commands)
        for service in services.values():
            build = service.get("build", {})
            if (ROOT / build.get("dockerfile", "")) == path and build.get("target", "") == name:
                targets = [volume.split(":")[1] for volume in service.get("volumes", []) if volume[0] != "."]
                assert set(targets) <= set(owned.split())


def test_the_workers_keep_their_home_in_the_shared_volume(services: Services) -> None:
    for name, steps in stages(ROOT / "docker" / "worker.Dockerfile").items():
        set_here = dict(re.findall(r"(\w+)=(\S+)", " ".join(value for step, value in steps if step == "ENV")))
        volumes = dict(reversed(volume.split(":")[:2]) for volume in services[name]["volumes"])
        assert volumes[set_here["HF_HOME"]] == "huggingface"
        # One file system, where a checkpoint can be linked from the store into the output folder.
        home = Path(set_here["OPTISHEAR_HOME"])
        assert volumes[str(home.parent)] == "optishear"
        commands = " && ".join(value for step, value in steps if step == "RUN")
        [linked] = re.findall(r"ln --symbolic ([^&]+) \. ", commands)
        assert {Path(folder).parent for folder in linked.split()} == {home.parent}
        assert str(OutputParameters().output) in {Path(folder).name for folder in linked.split()}


@per_dockerfile
def test_what_is_copied_is_there_and_let_in(path: Path) -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert rules[0] == "*", "all that is not named stays outside, secrets too"
    copied = {source for step, value in instructions(path) if step == "COPY" for source in value.split()[:-1]} | {
        source for _, value in instructions(path) for source in re.findall(r"type=bind,source=([^,\s]+)", value)
    }
    assert copied
    assert copied <= let_in
    assert all((ROOT / source).exists() for source in let_in)


def test_the_servers_image_has_pinned_versions_of_what_the_services_use(services: Services) -> None:
    path = ROOT / "docker" / "servers.Dockerfile"
    [arguments] = [value for step, value in instructions(path) if step == "RUN" and "pip install" in value]
    _, _, listed = arguments.partition("-c /tmp/constraints.txt ")
    packages = {package.partition("[")[0] for package in shlex.split(listed)}
    programs = {service["command"][0] for service in services.values() if service["image"] == "optishear-servers"}
    [driver] = re.findall(r"postgresql\+(\w+)://", str(services["mlflow"]["command"]))
    assert packages == programs | {driver}
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    # Prefect brings its driver.
    assert packages | {services["prefect"]["environment"]["PREFECT_SERVER_DATABASE_DRIVER"].partition("+")[2]} <= pinned
