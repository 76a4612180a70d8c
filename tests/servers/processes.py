"""Servers and workers as processes on free loopback ports, for tests."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Whether a page is served."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            status: int = response.status
            return status == 200
    except (urllib.error.URLError, OSError):
        return False


class Process:
    """A process with its output in a file, and everything that it starts."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def owns(self, pid: int) -> bool:
        """Whether it, or a descendant, has the number."""
        return pid in {member.pid for member in self._family()}

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill it and all its descendants at once, as a lost machine would."""
        self._signal_all(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, then kill what is left."""
        family = self._family()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self._process.wait()

    def _family(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _signal_all(self, number: int) -> None:
        for member in self._family():
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)


class MlflowServer:
    """A tracking server on a free loopback port, which keeps its port when it is started again."""

    def __init__(self, folder: Path, database: str, environment: dict[str, str]) -> None:
        """Choose the port.

        Args:
            folder: for its log and artifacts.
            database: address of its database.
            environment: of its process.
        """
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self._database = database
        # Its job runners are for evaluations inside MLflow, and take a core while a test starts.
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._environment = {**environment, **quiet, "OMP_NUM_THREADS": "1"}
        self._process: Process | None = None

    def launch(self) -> None:
        """Start it, without waiting."""
        command = python(
            "mlflow", "server", "--host", "127.0.0.1", "--port", self.url.rpartition(":")[2], "--workers", "1",
            "--backend-store-uri", self._database, "--artifacts-destination", str(self.folder / "mlflow-artifacts"),
        )  # fmt: skip
        self._process = Process(command, self.folder / "mlflow.log", self._environment)

    def wait(self, seconds: float) -> None:
        """Wait until it answers."""
        wait_until(self._is_ready, f"MLflow ({self.folder / 'mlflow.log'})", seconds)

    def start(self) -> None:
        """Start it, again where it was stopped, and wait until it answers."""
        self.launch()
        self.wait(180)

    def stop(self) -> None:
        """Kill it and its workers, as a lost machine would."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert not self._process.has_ended, self._process.log.read_text()
        return answers(f"{self.url}/health")


class Postgres:
    """A PostgreSQL server in a folder of its own; it refuses to run as root, so root lends it to another user."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._programs = programs
        self._user = None if os.geteuid() else _user_to_lend_to()
        if self._user is not None:
            shutil.chown(folder, self._user)
        data = str(folder / "data")
        self._run("initdb", "--auth=trust", "--username=optishear", "--encoding=UTF8", "--no-sync", "-D", data)
        self.start()

    def start(self) -> None:
        """Start it, again where it was stopped, on the same port."""
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories='' -c fsync=off"
        data, log = str(self._folder / "data"), str(self._folder / "postgres.log")
        self._run("pg_ctl", "start", "--wait", "-D", data, "-l", log, "-o", options)
        self._is_running = True

    def create(self, database: str) -> str:
        """Make a database; returns its address without a driver's name."""
        address = f"optishear@127.0.0.1:{self.port}"
        self._run("psql", "--quiet", f"postgresql://{address}/postgres", "-c", f"CREATE DATABASE {database}")
        return f"{address}/{database}"

    def stop(self) -> None:
        """End it at once, as a lost machine would; nothing where it does not run."""
        if self._is_running:
            self._run("pg_ctl", "stop", "-D", str(self._folder / "data"), "--mode=immediate")
            self._is_running = False

    def _run(self, program: str, *arguments: str) -> None:
        # Output to a file: the server keeps the handles, and would keep a pipe open for ever.
        with (self._folder.parent / f"{self._folder.name}-commands.log").open("ab") as log:
            subprocess.run(
                [str(self._programs / program), *arguments],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                check=True,
            )


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server while the body runs; the test is skipped where its programs are not installed."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL's programs are not installed (Debian: apt-get install postgresql)")
    # Its user could not enter pytest's own folders.
    folder = Path(tempfile.mkdtemp(prefix="optishear-postgres-"))
    server = Postgres(folder, programs)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def postgres_programs() -> Path | None:
    """The folder with ``initdb`` and ``pg_ctl``: on the path, or where Debian puts them; the newest version."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def _user_to_lend_to() -> str:
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def python(module: str, *arguments: str) -> list[str]:
    """A command that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]
