"""The compose file: what may be reached, what is secret, what waits for what; and that its commands are there."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from importlib.metadata import entry_points
from urllib.parse import urlsplit

import mlflow.environment_variables
import pytest
import yaml

from .conftest import COMPOSE_FILE, PASSWORD, ROOT, RunCompose, Services, tool

ONE_SHOT = {"deploy"}
WORKERS = {"cpu-worker", "gpu-worker"}
VARIABLE = re.compile(r"\$\{(\w+)(:[-?])?([^}]*)\}")


def test_docker_compose_accepts_it_and_starts_the_gpu_worker_only_with_its_profile(run_compose: RunCompose) -> None:
    without = run_compose("config", "--services", POSTGRES_PASSWORD=PASSWORD)
    assert without.returncode == 0, without.stderr
    assert set(without.stdout.split()) == {"postgres", "prefect", "mlflow", "deploy", "cpu-worker"}
    both = run_compose("config", "--services", POSTGRES_PASSWORD=PASSWORD, COMPOSE_PROFILES="gpu")
    assert set(both.stdout.split()) - set(without.stdout.split()) == {"gpu-worker"}


@pytest.mark.parametrize("variables", [{}, {"POSTGRES_PASSWORD": ""}], ids=["unset", "empty"])
def test_without_a_password_it_says_where_to_set_it(run_compose: RunCompose, variables: dict[str, str]) -> None:
    result = run_compose("config", "--quiet", **variables)
    assert result.returncode != 0
    assert "POSTGRES_PASSWORD is missing" in result.stderr
    assert "docker/.env.example" in result.stderr


def test_the_password_reaches_only_those_who_need_it(resolved: Services) -> None:
    knows = {name for name, service in resolved.items() if PASSWORD in json.dumps(service)}
    assert knows == {"postgres", "prefect", "mlflow"}
    for name in knows:
        outside_of_the_environment = {key: value for key, value in resolved[name].items() if key != "environment"}
        assert PASSWORD not in json.dumps(outside_of_the_environment)


def test_the_gpu_is_reserved_by_number(run_compose: RunCompose) -> None:
    result = run_compose(
        "--profile", "gpu", "config", "--format", "json", POSTGRES_PASSWORD=PASSWORD, GPU="3", HF_TOKEN="token"
    )
    worker = json.loads(result.stdout)["services"]["gpu-worker"]
    assert worker["deploy"]["resources"]["reservations"]["devices"] == [
        {"capabilities": ["gpu"], "driver": "nvidia", "device_ids": ["3"]}
    ]
    assert worker["command"][worker["command"].index("--name") + 1] == "gpu-3"
    assert worker["command"][worker["command"].index("--limit") + 1] == "1"
    assert worker["environment"]["HF_TOKEN"] == "token"


def test_secrets_come_from_outside_and_have_no_default(services: Services) -> None:
    secrets = {
        f"{name}.{key}": value
        for name, service in services.items()
        for key, value in service["environment"].items()
        if re.search("PASS|TOKEN|SECRET|KEY", key)
    }
    assert len(secrets) >= 4
    for where, value in secrets.items():
        # No value: taken from outside where it is set.
        assert value is None or value.startswith("${POSTGRES_PASSWORD:?"), where


def test_the_example_names_every_variable_and_no_secret() -> None:
    example = (ROOT / "docker" / ".env.example").read_text()
    named = dict(re.findall(r"^#?(\w+)=(.*)$", example, flags=re.MULTILINE))
    passed_on = {"HF_TOKEN", "COMPOSE_PROFILES"}  # named in the file without ${}, and read by Compose itself
    assert set(named) == {name for name, *_ in VARIABLE.findall(COMPOSE_FILE.read_text())} | passed_on
    assert named["POSTGRES_PASSWORD"] == named["HF_TOKEN"] == ""
    assert "/docker/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_published_port_is_on_loopback(services: Services) -> None:
    ports = [str(port) for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_only_the_servers_reach_the_database(services: Services) -> None:
    networks = yaml.safe_load(COMPOSE_FILE.read_text())["networks"]
    assert networks["database"]["internal"] is True
    reach = {name for name, service in services.items() if "database" in service.get("networks", ["default"])}
    assert reach == {"postgres", "prefect", "mlflow"}


def test_images_are_built_here_or_have_a_version(services: Services) -> None:
    for name, service in services.items():
        if "build" in service:
            assert (ROOT / "docker" / service["build"]["context"]).resolve() == ROOT
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        else:
            _, _, tag = service["image"].partition(":")
            assert re.match(r"\d", tag), f"{name}: {service['image']}"
            assert service["user"] not in ("root", "0"), name


def test_what_runs_long_is_watched_and_restarted(services: Services) -> None:
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        if name in ONE_SHOT:
            assert service["restart"] == "no"
            assert service["healthcheck"] == {"disable": True}
        else:
            assert service["restart"] == "unless-stopped"
            assert service["healthcheck"]["test"][0] == "CMD", name


def test_each_waits_for_what_it_needs(services: Services) -> None:
    healthy, done = {"condition": "service_healthy"}, {"condition": "service_completed_successfully"}
    assert services["prefect"]["depends_on"] == services["mlflow"]["depends_on"] == {"postgres": healthy}
    assert services["deploy"]["depends_on"] == {"prefect": healthy}
    for name in WORKERS:
        assert services[name]["depends_on"] == {"deploy": done, "prefect": healthy, "mlflow": healthy}


def test_workers_share_what_they_keep(services: Services) -> None:
    declared = yaml.safe_load(COMPOSE_FILE.read_text())["volumes"]
    for name in WORKERS | ONE_SHOT:
        assert services[name]["volumes"] == services["cpu-worker"]["volumes"]
        assert services[name]["environment"].items() <= services["cpu-worker"]["environment"].items()
    mounted = [str(volume).split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    assert {volume for volume in mounted if not volume.startswith(".")} == set(declared)
    for volume in mounted:
        assert not volume.startswith(".") or (COMPOSE_FILE.parent / volume).exists()


def test_addresses_name_services_and_their_ports(services: Services) -> None:
    listens = {
        "prefect": services["prefect"]["command"][-1],
        "mlflow": services["mlflow"]["command"][3].removeprefix("--port="),
    }
    for name, port in listens.items():
        assert services[name]["ports"][0].endswith(f":{port}")
    environment = services["cpu-worker"]["environment"]
    assert environment["PREFECT_API_URL"] == f"http://prefect:{listens['prefect']}/api"
    assert environment["MLFLOW_TRACKING_URI"] == f"http://mlflow:{listens['mlflow']}"
    assert f"--allowed-hosts=mlflow:{listens['mlflow']},localhost:*,127.0.0.1:*" in services["mlflow"]["command"]


def test_the_databases_are_made_that_the_servers_use(services: Services) -> None:
    [store] = [part for part in services["mlflow"]["command"] if part.startswith("--backend-store-uri=")]
    used = {
        services["prefect"]["environment"]["PREFECT_SERVER_DATABASE_NAME"],
        urlsplit(store.partition("=")[2]).path.removeprefix("/"),
    }
    made = re.findall(r"^CREATE DATABASE (\w+);$", (ROOT / "docker" / "databases.sql").read_text(), flags=re.MULTILINE)
    assert set(made) == used


@pytest.mark.parametrize("service", ["prefect", "cpu-worker"])
def test_prefect_knows_every_variable(resolved: Services, service: str) -> None:
    given = {name: value for name, value in resolved[service]["environment"].items() if name.startswith("PREFECT_")}
    code = """
import json
from prefect.settings import Settings
print(json.dumps(Settings().to_environment_variables(exclude_unset=True)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["OPTISHEAR_HOME"], **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert given.keys() <= json.loads(result.stdout.splitlines()[-1]).keys()


def test_mlflow_knows_every_variable(services: Services) -> None:
    given = {name for service in services.values() for name in service["environment"] if name.startswith("MLFLOW_")}
    assert given == {"MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY"}
    assert all(hasattr(mlflow.environment_variables, name) for name in given)


def test_the_programs_are_those_that_pip_installs(services: Services) -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    scripts = {script.name for script in entry_points(group="console_scripts")} | set(ours)
    programs = {service["command"][0] for service in services.values() if "command" in service}
    assert programs == {"prefect", "mlflow", "optishear"}
    assert programs <= scripts


@pytest.mark.parametrize("service", ["prefect", "mlflow", "gpu-worker", "deploy"])
def test_the_programs_know_every_option(services: Services, service: str) -> None:
    command = services[service]["command"]
    words = [word for word in command if re.fullmatch("mlflow|prefect|optishear|deploy|server|worker|start", word)]
    shown = subprocess.run(
        [tool(words[0]), *words[1:], "--help"],
        env={**os.environ, "COLUMNS": "250", "PREFECT_HOME": os.environ["OPTISHEAR_HOME"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    options = [word.partition("=")[0] for word in command if word.startswith("--")]
    assert options
    assert [option for option in options if not re.search(rf"(?<!\S){option}(?!\S)", shown)] == []


@pytest.mark.parametrize("service", ["prefect", "mlflow", "cpu-worker"])
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_health_checks_tell_well_from_ill(services: Services, service: str, status: int | None, healthy: bool) -> None:
    paths = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status or 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    [_, program, *arguments] = services[service]["healthcheck"]["test"]
    assert program == "python"
    port = (
        services[service].get("environment", {}).get("PREFECT_WORKER_WEBSERVER_PORT")
        or re.search(r":(\d+)$", services[service]["ports"][0])[1]
    )
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        here = f"127.0.0.1:{server.server_port}" if status else "127.0.0.1:1"
        code = [argument.replace(f"127.0.0.1:{port}", here) for argument in arguments]
        result = subprocess.run([sys.executable, *code], capture_output=True)
        server.shutdown()
        thread.join()
    assert (result.returncode == 0) == healthy
    assert [path.removeprefix("/api") for path in paths] == (["/health"] if status else [])


def test_the_worker_of_the_cpu_pool_sees_no_gpu(services: Services) -> None:
    assert services["cpu-worker"]["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in services["gpu-worker"]["environment"]
