"""What the tests of docker/ read: the files as they are, and what Docker Compose makes of them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker" / "compose.yaml"
# What a connection URL, a shell or a YAML file could stumble over.
PASSWORD = "s3cr:t@/x y"

Services = dict[str, dict[str, Any]]
RunCompose = Callable[..., subprocess.CompletedProcess[str]]


def tool(name: str) -> str:
    """The path of a program that is installed beside Python or on the path."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        pytest.skip(f"{name} is not installed; the extra 'dev' brings it")
    return found


@pytest.fixture(scope="session")
def services() -> Services:
    """The services as the file has them, before variables are filled in."""
    content: dict[str, Services] = yaml.safe_load(COMPOSE_FILE.read_text())
    return content["services"]


@pytest.fixture(scope="session")
def run_compose() -> RunCompose:
    """Runs a command of Docker Compose on the file, with these variables and no others."""
    program = tool("docker-compose")

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            # A developer's own docker/.env is not read.
            [program, "--env-file", os.devnull, "--file", str(COMPOSE_FILE), *arguments],
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables},
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(scope="session")
def resolved(run_compose: RunCompose) -> Services:
    """The services as Docker Compose understands them, those for a GPU too."""
    result = run_compose("--profile", "gpu", "config", "--format", "json", POSTGRES_PASSWORD=PASSWORD)
    assert result.returncode == 0, result.stderr
    content: dict[str, Services] = json.loads(result.stdout)
    return content["services"]
