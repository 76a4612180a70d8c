"""A server, or the database under Prefect's, is killed in the middle of a search.

The run ends as one that never lost it.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

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

pytestmark = pytest.mark.drill
_SECONDS_TO_START = 300.0


@dataclass
class Setting:
    """Both servers, and a pipeline of seconds. Prefect's is over PostgreSQL where that is to be lost, else SQLite.

    Attributes:
        folder: for everything.
        environment: of the command.
        prefect: the process of Prefect's server.
        start_prefect: starts it, on the same port each time.
        mlflow: the tracking server.
        postgres: the database of Prefect's server.
    """

    folder: Path
    environment: dict[str, str]
    prefect: Process
    start_prefect: Callable[[], Process]
    mlflow: MlflowServer
    postgres: Postgres | None = None

    def run(self, output: str) -> "subprocess.Popen[bytes]":
        """Begin the command."""
        text = str(self.folder / "text.txt")
        sizes = {"sequences": 4, "sequence-length": 32, "search-sequences": 2, "rounds": 2, "trials": 400}
        sizes |= {"population": 4, "window-length": 64, "windows": 4}
        flags = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
        with (self.folder / f"{output}.log").open("wb") as log:
            return subprocess.Popen(
                python(
                    "flows.command_line", "run", "--model", str(self.folder / "tiny"), "--sparsity", "0.5",
                    "--calibration", text, "--evaluation-text", text, "--masks-only", "--device", "cpu",
                    "--placement", "in_process", "--output", str(self.folder / output), *flags,
                ),
                env=self.environment, cwd=REPOSITORY, stdout=log, stderr=log,
            )  # fmt: skip

    def measured(self) -> int:
        """Trials in the journal."""
        journals = (self.folder / "home").glob("journals/*.jsonl")
        return sum(len(path.read_bytes().splitlines()) for path in journals)

    def lose(self, server: str) -> None:
        """Kill a server."""
        if server == "mlflow":
            self.mlflow.stop()
        elif server == "prefect":
            self.prefect.kill()
        else:
            assert self.postgres is not None
            self.postgres.stop()

    def bring_back(self, server: str) -> None:
        """Start it again."""
        if server == "mlflow":
            self.mlflow.start()
        elif server == "prefect":
            self.prefect = self.start_prefect()
        else:
            assert self.postgres is not None
            self.postgres.start()


@pytest.fixture
def postgres(server: str) -> Iterator[Postgres | None]:
    """The database that is to be lost."""
    if server != "postgres":
        yield None
        return
    with running_postgres() as running:
        yield running


@pytest.fixture
def setting(tmp_path: Path, postgres: Postgres | None) -> Iterator[Setting]:
    """Both servers, answering."""
    (tmp_path / "text.txt").write_text(random_text(paragraphs=60))
    tiny_model(layers=4).save_pretrained(tmp_path / "tiny")
    make_tokenizer().save_pretrained(tmp_path / "tiny")
    mlflow = MlflowServer(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", dict(os.environ))
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "OPTISHEAR_HOME": str(tmp_path / "home"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        "MLFLOW_TRACKING_URI": mlflow.url,
    }
    environment.pop("PREFECT_RESULTS_LOCAL_STORAGE_PATH", None)  # the tests' own process has set one
    database = {}
    if postgres is not None:
        database["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = f"postgresql+asyncpg://{postgres.create('prefect')}"

    def start() -> Process:
        command = python("prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
        return Process(command, tmp_path / "prefect.log", {**environment, **database})

    mlflow.launch()
    setting = Setting(tmp_path, environment, start(), start, mlflow, postgres)
    try:
        wait_until(lambda: answers(f"{url}/api/health"), "Prefect", _SECONDS_TO_START)
        mlflow.wait(_SECONDS_TO_START)
        yield setting
    finally:
        setting.prefect.stop()
        mlflow.stop()


@pytest.mark.parametrize("server", ["prefect", "mlflow", "postgres"])
@pytest.mark.parametrize("seconds", [10, 300])
def test_a_server_that_comes_back_is_not_missed(setting: Setting, server: str, seconds: int) -> None:
    run = setting.run("output")
    wait_until(lambda: setting.measured() > 60 or run.poll() is not None, "the middle of the search", 300)
    assert run.poll() is None, (setting.folder / "output.log").read_text()
    setting.lose(server)
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(seconds)
    setting.bring_back(server)
    assert run.wait(1200) == 0, (setting.folder / "output.log").read_text()
    again = setting.run("again")
    assert again.wait(600) == 0
    recipes = [(setting.folder / name / "recipe.yaml").read_bytes() for name in ("output", "again")]
    assert recipes[0] == recipes[1]
    assert "Nothing had to be computed again" in (setting.folder / "again.log").read_text()


@pytest.mark.parametrize("server", ["prefect", "mlflow", "postgres"])
def test_the_wording_where_a_server_stays_away_and_nothing_is_lost(setting: Setting, server: str) -> None:
    run = setting.run("output")
    wait_until(lambda: setting.measured() > 60 or run.poll() is not None, "the middle of the search", 300)
    setting.lose(server)
    assert run.wait(3600) == 1
    log = (setting.folder / "output.log").read_text()
    assert re.search(r"Error: The server 127.0.0.1:\d+ did not answer \(.*\)\. Once it does, ", log)
    setting.bring_back(server)
    again = setting.run("output")
    assert again.wait(600) == 0
    assert "search: nothing to compute" in (setting.folder / "output.log").read_text()
