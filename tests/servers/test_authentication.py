"""Both servers ask for a password: a command runs with it, ends with one sentence without it, and never writes it."""

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from servers.processes import REPOSITORY, MlflowServer, Process, answers, free_port, python, wait_until
from tiny import make_tokenizer, random_text, tiny_model

pytestmark = pytest.mark.servers
USER, PREFECT_PASSWORD, MLFLOW_PASSWORD = "keeper", "prefect-6f1c2d", "mlflow-93ab07"
_SECONDS_TO_START = 600.0


def guarded(upstream: str) -> ThreadingHTTPServer:
    """A proxy that asks for the password, as one in front of MLflow does."""
    wanted = "Basic " + base64.b64encode(f"{USER}:{MLFLOW_PASSWORD}".encode()).decode()

    class Guard(BaseHTTPRequestHandler):
        def answer(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != wanted:
                self.answer(401, b"a password is needed", "text/plain")
                return
            kind = self.headers.get("Content-Type", "application/json")
            answer = httpx.request(
                self.command, upstream + self.path, content=body, headers={"Content-Type": kind}, timeout=300
            )
            self.answer(answer.status_code, answer.content, answer.headers.get("Content-Type", "text/plain"))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Guard)


@dataclass
class Guarded:
    """Both servers, with passwords.

    Attributes:
        folder: for everything.
        environment: of a command that has both passwords.
    """

    folder: Path
    environment: dict[str, str]

    def evaluate(self, **changes: str) -> "subprocess.CompletedProcess[str]":
        """Evaluate a tiny model, with some of the environment changed."""
        text = str(self.folder / "text.txt")
        command = python(
            "flows.command_line", "evaluate", "--model", str(self.folder / "tiny"), "--evaluation-text", text,
            "--window-length", "64", "--windows", "2", "--device", "cpu", "--placement", "in_process",
            "--output", str(self.folder / "output"),
        )  # fmt: skip
        return subprocess.run(
            command, env={**self.environment, **changes}, cwd=REPOSITORY, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Both servers, answering."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "text.txt").write_text(random_text(paragraphs=30))
    tiny_model().save_pretrained(folder / "tiny")
    make_tokenizer().save_pretrained(folder / "tiny")
    mlflow = MlflowServer(folder, f"sqlite:///{folder / 'mlflow.db'}", dict(os.environ))
    proxy = guarded(mlflow.url)
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "OPTISHEAR_HOME": str(folder / "home"),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{proxy.server_port}",
        "PREFECT_API_AUTH_STRING": f"{USER}:{PREFECT_PASSWORD}",
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": MLFLOW_PASSWORD,
    }
    environment.pop("PREFECT_RESULTS_LOCAL_STORAGE_PATH", None)  # the tests' own process has set one
    of_server = {**environment, "PREFECT_SERVER_API_AUTH_STRING": environment["PREFECT_API_AUTH_STRING"]}
    command = python("prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
    prefect = Process(command, folder / "prefect.log", of_server)
    mlflow.launch()
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        wait_until(lambda: answers(f"{url}/api/health"), "Prefect", _SECONDS_TO_START)
        mlflow.wait(_SECONDS_TO_START)
        yield Guarded(folder, environment)
    finally:
        prefect.stop()
        mlflow.stop()
        proxy.shutdown()


@pytest.mark.parametrize("given", ["", f"{USER}:wrong"])
def test_the_wording_without_the_password_of_prefect(servers: Guarded, given: str) -> None:
    ended = servers.evaluate(PREFECT_API_AUTH_STRING=given)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr == (
        f"Error: The Prefect server {servers.environment['PREFECT_API_URL']} refuses the credentials (401 "
        "Unauthorized); set PREFECT_API_AUTH_STRING to USER:PASSWORD as the server has them.\n"
    )


def test_the_wording_without_the_password_of_mlflow(servers: Guarded) -> None:
    ended = servers.evaluate(MLFLOW_TRACKING_PASSWORD="wrong")
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.endswith(
        f"Error: The MLflow server {servers.environment['MLFLOW_TRACKING_URI']!r} refuses the credentials; set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.\n"
    )
    assert "Traceback" not in ended.stderr


def test_a_run_with_the_passwords_writes_them_nowhere(servers: Guarded) -> None:
    ended = servers.evaluate()
    assert ended.returncode == 0, ended.stderr
    assert (servers.folder / "output" / "metrics.json").is_file()
    written = [ended.stdout.encode(), ended.stderr.encode()]
    written += [path.read_bytes() for path in servers.folder.rglob("*") if path.is_file()]
    assert len(written) > 10
    for secret in (PREFECT_PASSWORD, MLFLOW_PASSWORD):
        encoded = base64.b64encode(f"{USER}:{secret}".encode())
        assert [content[:80] for content in written if secret.encode() in content or encoded in content] == []
