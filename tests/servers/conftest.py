"""One set of servers for all tests here: PostgreSQL, Prefect, MLflow, a worker for the cpu pool, two for the gpu pool.

They are started by the commands that a person would give, on a home folder of their own.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from servers.browser import browser_process, chromium, open_page
from servers.processes import (
    REPOSITORY,
    MlflowServer,
    Postgres,
    Process,
    answers,
    free_port,
    python,
    running_postgres,
    wait_until,
)
from tiny import make_tokenizer, random_text, tiny_model

_ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def label_of(run: dict[str, Any]) -> str:
    """The stage of a run and which one it is, without model and sparsity: ``evaluate wanda``."""
    parts = run["name"].split(" · ")
    return " ".join(parts[:-2] or parts)


@dataclass
class Servers:
    """What runs, and how to talk to it.

    Attributes:
        folder: for files of the tests.
        home: OPTISHEAR_HOME of all workers.
        prefect_url: address of Prefect's pages.
        mlflow_url: address of MLflow's.
        environment: of workers and commands.
        workers: by name.
    """

    folder: Path
    home: Path
    prefect_url: str
    mlflow_url: str
    environment: dict[str, str]
    workers: dict[str, Process]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line, as a person does who has set where the servers are."""
        return subprocess.run(
            python("flows.command_line", *arguments),
            cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def start_worker(self, name: str, *, pool: str) -> None:
        """Start a worker, one GPU's or the cpu pool's."""
        limit = ["--limit", "1"] if pool == "gpu" else []
        command = python("prefect", "worker", "start", "--pool", pool, "--name", name, *limit)
        self.workers[name] = Process(command, self.folder / f"worker-{name}.log", self.environment)

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask Prefect's API."""
        response = httpx.request(method, f"{self.prefect_url}/api/{path}", json=body, timeout=60)
        response.raise_for_status()
        return response.json() if response.content else None

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a run of ``FLOW/DEPLOYMENT``; returns its id."""
        found = self.api("GET", f"deployments/name/{deployment}")
        run = self.api("POST", f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def worker_of(self, run: str) -> str:
        """The name of the worker whose process the run is."""
        pid = int(self.flow_run(run)["infrastructure_pid"].rpartition(":")[2])
        return next(name for name, worker in self.workers.items() if worker.owns(pid))

    def retry(self, run: str) -> None:
        """What the Retry button does."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
        accepted = self.api("POST", f"flow_runs/{run}/set_state", {"state": state})
        assert accepted["status"] == "ACCEPT", accepted

    def ended(self, run: str, seconds: float = 900) -> dict[str, Any]:
        """The run when it has ended."""
        wait_until(lambda: self.flow_run(run)["state_type"] in _ENDED, f"the end of the run {run}", seconds)
        return self.flow_run(run)

    def flow_run(self, run: str) -> dict[str, Any]:
        """The run as it is now."""
        found: dict[str, Any] = self.api("GET", f"flow_runs/{run}")
        return found

    def children(self, run: str) -> list[dict[str, Any]]:
        """The runs of deployments that a run has started, in order."""
        parents = {task["id"] for task in self.tasks(run)}
        runs = self.api("POST", "flow_runs/filter", {"sort": "START_TIME_ASC"})
        return [each for each in runs if each["parent_task_run_id"] in parents]

    def tasks(self, run: str) -> list[dict[str, Any]]:
        """The task runs of a run, in order."""
        found: list[dict[str, Any]] = self.api(
            "POST",
            "task_runs/filter",
            {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"},
        )
        return found

    def artifacts(self, run: str) -> dict[str, dict[str, Any]]:
        """What is shown on a run's page, by key."""
        found = self.api("POST", "artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {each["key"]: each for each in found}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def servers(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Everything, deployed and ready."""
    folder = tmp_path_factory.mktemp("servers")
    home = folder / "home"
    prefect_url = f"http://127.0.0.1:{free_port()}"
    mlflow = MlflowServer(folder, f"postgresql+psycopg://{postgres.create('mlflow')}", dict(os.environ))
    environment = {
        **os.environ,
        "OPTISHEAR_HOME": str(home),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"{prefect_url}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_PREFETCH_SECONDS": "2",
        "MLFLOW_TRACKING_URI": mlflow.url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PREFECT_RESULTS_LOCAL_STORAGE_PATH", None)  # the tests' own process has set one
    prefect = Process(
        python("prefect", "server", "start", "--host", "127.0.0.1", "--port", prefect_url.rpartition(":")[2]),
        folder / "prefect.log",
        {
            **environment,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{postgres.create('prefect')}",
        },
    )
    mlflow.launch()
    running = Servers(folder, home, prefect_url, mlflow.url, environment, {})
    try:
        wait_until(lambda: answers(f"{prefect_url}/api/health"), f"Prefect ({folder / 'prefect.log'})")
        deployed = running.command("deploy", "--gpus", "2")
        assert deployed.returncode == 0, deployed.stderr
        running.start_worker("cpu", pool="cpu")
        for gpu in ("gpu-0", "gpu-1"):
            running.start_worker(gpu, pool="gpu")
        mlflow.wait(300)
        yield running
    finally:
        for process in (*running.workers.values(), prefect, mlflow):
            process.stop()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A tracking server over SQLite by itself, which a test may stop and start."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    server = MlflowServer(folder, f"sqlite:///{folder / 'mlflow.db'}", dict(os.environ))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """An installed Chromium."""
    program = chromium()
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with browser_process(program) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a fresh window."""
    page = open_page(browser)
    yield page
    page.close()


@pytest.fixture(scope="session")
def text(servers: Servers) -> Path:
    """A text, long enough for everything."""
    path = servers.folder / "text.txt"
    path.write_text(random_text(paragraphs=60))
    return path


@pytest.fixture(scope="session")
def settings(servers: Servers, text: Path) -> dict[str, Any]:
    """Parameters of a pipeline that takes seconds, on a tiny random Llama of 4 layers."""
    model = servers.folder / "tiny-llama"
    tiny_model(layers=4).save_pretrained(model)
    make_tokenizer().save_pretrained(model)
    return {
        "model": str(model),
        "calibration": str(text),
        "evaluation_text": str(text),
        "sequences": 4,
        "sequence_length": 32,
        "masks_only": True,
        "search_sequences": 2,
        "rounds": 2,
        "trials": 24,
        "population": 4,
        "window_length": 64,
        "windows": 4,
        "device": "cpu",
        "placement": "deployments",
    }


@dataclass(frozen=True)
class Lost:
    """A run whose GPU worker was killed in the middle of the search, and whose search had measured ``measured``."""

    run: str
    search: str
    journal: Path
    measured: int


@pytest.fixture(scope="session")
def lost(servers: Servers, settings: dict[str, Any]) -> Lost:
    """Begun first, so that what takes Prefect a while goes on while other tests run."""
    output = servers.folder / "lost"
    run = servers.start("pipeline/pipeline", {"parameters": {**settings, "trials": 400, "output": str(output)}})

    def measured() -> int:
        return sum(len(path.read_bytes().splitlines()) for path in servers.home.glob("journals/*.jsonl"))

    wait_until(lambda: measured() > 60, "the middle of the search", 600)
    search = servers.children(run)[-1]["id"]
    name = servers.worker_of(search)
    servers.workers.pop(name).kill()
    (journal,) = servers.home.glob("journals/*.jsonl")
    killed = Lost(run, search, journal, measured())
    servers.start_worker(f"{name}-again", pool="gpu")
    return killed


@dataclass(frozen=True)
class Mended:
    """A run that failed in its first evaluation, was mended and retried; what it had started before."""

    run: str
    failed: dict[str, Any]
    started: list[str]


def start_with_short_text(servers: Servers, settings: dict[str, Any], name: str) -> tuple[str, Path]:
    """Start a run that fails in its first evaluation, since its evaluation text is too short.

    Args:
        servers: that run it.
        settings: of the run.
        name: of its output folder, in the folder of the tests.

    Returns:
        The run's id, and the file of the text.
    """
    text = servers.folder / f"{name}.txt"
    text.write_text("Too short.")
    parameters = {**settings, "sequences": 5, "evaluation_text": str(text), "output": str(servers.folder / name)}
    return servers.start("pipeline/pipeline", {"parameters": parameters}), text


def lengthen(text: Path, settings: dict[str, Any]) -> None:
    """Make a text long enough. No other run has evaluated on it, so the store has nothing of it."""
    text.write_text(f"{text.stem}. " + Path(settings["evaluation_text"]).read_text())


@pytest.fixture(scope="session")
def mended(servers: Servers, settings: dict[str, Any], lost: Lost) -> Mended:
    """Its evaluation text is too short at first."""
    run, text = start_with_short_text(servers, settings, "mended")
    failed = servers.ended(run)
    started = [label_of(child) for child in servers.children(run)]
    lengthen(text, settings)
    servers.retry(run)
    assert servers.ended(run)["state_type"] == "COMPLETED"
    return Mended(run, failed, started)
