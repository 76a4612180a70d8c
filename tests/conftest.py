"""Fixtures that tests of several parts ask for."""

import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from task_folder import TaskFolder
from tiny import FAMILIES, make_tokenizer, tiny_model

# Tests neither see nor change what the user keeps.
_HOME = tempfile.TemporaryDirectory(prefix="optishear-tests-")
os.environ["OPTISHEAR_HOME"] = _HOME.name


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("OPTISHEAR_HOME", str(folder))
    return folder


@pytest.fixture
def task_folder(tmp_path: Path) -> TaskFolder:
    """An empty folder for task files, beside its data."""
    return TaskFolder(tmp_path / "tasks")


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Every family in turn."""
    name: str = request.param
    return name


@pytest.fixture
def family_model(family: str) -> PreTrainedModel:
    """A tiny random model of every family in turn."""
    return tiny_model(family)


@pytest.fixture
def tiny_llama() -> PreTrainedModel:
    """A tiny random Llama."""
    return tiny_model("llama")


@pytest.fixture
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer for the tiny models."""
    return make_tokenizer()


@pytest.fixture
def model_folder(tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A tiny random Llama with its tokenizer, saved."""
    folder = tmp_path / "tiny-llama"
    tiny_llama.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of its own for the whole session."""
    # First, as it sets what Prefect reads when it is imported.
    importlib.import_module("flows")
    testing = importlib.import_module("prefect.testing.utilities")
    with testing.prefect_test_harness(server_startup_timeout=180):
        yield


class MlflowServer:
    """A tracking server as a process, over SQLite, on a free loopback port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, again where it was stopped, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        places = ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        places += ["--artifacts-destination", str(self.folder / "artifacts")]
        # Its job runners are for evaluations inside MLflow, and take a core while a test starts.
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment = {**os.environ, **quiet, "OMP_NUM_THREADS": "1"}
        with (self.folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *places, "--workers", "1"], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 180
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "mlflow.log").read_text()
            assert time.monotonic() < deadline, (self.folder / "mlflow.log").read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill it and its workers, as a lost machine would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A tracking server for the whole session."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow-server"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
