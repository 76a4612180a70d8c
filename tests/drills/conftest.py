"""One Prefect server, and the process from which the commands are forked, for all drills."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drills.tiny_command import Forks, TinyCommand, results, seconds_of_stages
from servers.processes import Process, answers, free_port, python, wait_until


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Where commands are forked from; they record their runs in a server of their own."""
    folder = tmp_path_factory.mktemp("prefect")
    url = f"http://127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "OPTISHEAR_HOME": str(folder),
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"{url}/api",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PREFECT_RESULTS_LOCAL_STORAGE_PATH", None)
    server = Process(
        python("prefect", "server", "start", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]),
        folder / "server.log",
        environment,
    )
    forks = Forks(environment)
    try:
        wait_until(lambda: answers(f"{url}/api/health"), "Prefect", 300)
        yield forks
    finally:
        forks.stop()
        server.stop()


_COUNTED = pytest.StashKey[Counter[str]]()


@pytest.fixture
def counted(pytestconfig: pytest.Config) -> Counter[str]:
    """How often each disturbance came; shown after the drills."""
    return pytestconfig.stash.setdefault(_COUNTED, Counter())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show how often each disturbance came."""
    counts = config.stash.get(_COUNTED, Counter())
    if counts:
        terminalreporter.section("disturbances")
        for name, number in counts.items():
            terminalreporter.line(f"{number:4} {name}")


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing happened to.

    Attributes:
        results: what a disturbed one has to end with.
        seconds: of each stage.
    """

    results: dict[str, bytes]
    seconds: dict[str, float]


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory, forks: Forks, new_mlflow_database: Path) -> TinyCommand:
    """The command; each drill has home and output folders of its own."""
    return TinyCommand(tmp_path_factory.mktemp("tiny"), forks, new_mlflow_database)


@pytest.fixture(scope="session")
def undisturbed(command: TinyCommand) -> Undisturbed:
    """One run without a disturbance, in a home folder of its own."""
    output = command.folder / "undisturbed"
    run = command.start(output, command.folder / "home")
    assert run.wait() == 0, run.said
    return Undisturbed(results(output), seconds_of_stages(run.said))


@pytest.fixture(scope="session")
def undisturbed_home(command: TinyCommand, undisturbed: Undisturbed) -> Path:
    """The home folder of that run, to be copied."""
    return command.folder / "home"
