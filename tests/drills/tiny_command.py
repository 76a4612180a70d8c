"""The command ``optishear run`` on a tiny random model, as a process to be disturbed at a chosen moment."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drills import fork_program
from servers.processes import REPOSITORY
from tiny import make_tokenizer, random_text, tiny_model

_SECONDS = 600.0
# How often a moment is looked for.
_LOOK = 0.02
# Of a stage, within which it is disturbed; on a machine whose speed changes the next stage might come after that.
PART = 0.6
# Of the pipeline, in its order; those of the labels that a stage has there.
STAGES = (
    "calibrate",
    "speed",
    "statistics",
    "search",
    "evaluate dense",
    "evaluate wanda",
    "sparsegpt",
    "evaluate sparsegpt",
    "prune",
    "evaluate masked",
    "reconstruct",
    "evaluate reconstructed",
    "recover",
    "evaluate pruned",
    "diagnose",
    "footprint dense",
    "footprint pruned",
    "report",
)


class Forks:
    """The process from which commands are forked."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it; the commands have this environment, but for their home folders."""
        self.environment = environment
        self._started: list[Running] = []
        program = str(Path(fork_program.__file__))
        self._process = subprocess.Popen(
            [sys.executable, program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**environment, "PYTHONPATH": str(REPOSITORY)},
        )

    def ask(self, *request: object) -> Any:
        """Send a request, and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> "Running":
        """Begin a command."""
        self._started.append(Running(self, self.ask("start", arguments, environment, str(log)), log))
        return self._started[-1]

    def stop(self) -> None:
        """End it, and what a failed drill has left."""
        for run in self._started:
            run.signal(signal.SIGKILL, group=True)
        self._process.kill()
        self._process.wait()


@dataclass
class Running:
    """A command that was started.

    Attributes:
        forks: where from.
        number: of its process.
        log: what it prints.
    """

    forks: Forks
    number: int
    log: Path
    _code: int | None = None

    @property
    def code(self) -> int | None:
        """The exit code; ``None`` while it runs."""
        if self._code is None:
            self._code = self.forks.ask("poll", self.number)
        return self._code

    @property
    def said(self) -> str:
        """What it has printed, each state of a progress bar on a line of its own."""
        return self.log.read_text().replace("\r", "\n") if self.log.exists() else ""

    def wait(self, seconds: float = _SECONDS) -> int:
        """The exit code, once it has ended."""
        deadline = time.monotonic() + seconds
        while (code := self.code) is None:
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                raise TimeoutError(f"waited {seconds:.0f} s for the end of a command, which says\n{self.said}")
            time.sleep(_LOOK)
        return code

    def signal(self, number: int, group: bool = False) -> None:
        """Send a signal to the process or to its group."""
        if self.code is None:
            (os.killpg if group else os.kill)(self.number, number)

    def reaches(self, words: str, after: float = 0.0) -> bool:
        """Wait for words in its log, and so many seconds more; whether it still runs then."""
        deadline = time.monotonic() + _SECONDS
        while words not in self.said:
            if self.code is not None:
                return False
            assert time.monotonic() < deadline, f"{words!r} did not come:\n{self.said}"
            time.sleep(_LOOK)
        time.sleep(after)
        return self.code is None


@dataclass
class TinyCommand:
    """A tiny model, a text and the flags of a run of seconds.

    Attributes:
        folder: for everything.
        forks: the process from which the commands are forked.
        database: an MLflow database without a run.
        flags: of each run, with their values.
    """

    folder: Path
    forks: Forks
    database: Path
    flags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the model and the text."""
        text = self.folder / "text.txt"
        text.write_text(random_text(paragraphs=60))
        tiny_model(layers=2).save_pretrained(self.folder / "tiny")
        make_tokenizer().save_pretrained(self.folder / "tiny")
        places = {"model": self.folder / "tiny", "calibration": text, "evaluation-text": text}
        sizes = {"sequences": 4, "sequence-length": 32, "search-sequences": 2, "rounds": 1, "trials": 60}
        sizes |= {"population": 4, "window-length": 64, "windows": 4, "recovery-tokens": 24_000}
        settings = {"sparsity": "0.5", "device": "cpu", "placement": "in_process", "dtype": "float32"}
        self.flags = {name: str(value) for name, value in {**places, **sizes, **settings, **self.flags}.items()}

    def start(self, output: Path, home: Path, *more: str, command: str = "run") -> Running:
        """Begin the command; several with one output have logs of their own."""
        if not home.exists():
            home.mkdir(mode=0o700)
            (home / "mlflow.db").write_bytes(self.database.read_bytes())
        words = [word for name, value in self.flags.items() for word in (f"--{name}", value)]
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        arguments = [command, "--output", str(output), *words, *more]
        environment = {**self.forks.environment, "OPTISHEAR_HOME": str(home)}
        return self.forks.start(arguments, environment, log)


def seconds_of_stages(said: str) -> dict[str, float]:
    """How long each stage took, from the log of a run."""
    return {name: float(seconds) for name, seconds in re.findall(r"^([a-z ]+): done in ([\d.]+) s", said, re.M)}


def results(output: Path) -> dict[str, bytes]:
    """The result of a run that is the same in each repetition: the checkpoint, its recipe and what it was made by."""
    names = ("calibration.parquet", "recipe.yaml", "model/config.json", "model/recipe.yaml", "model/model.safetensors")
    return {name: (output / name).read_bytes() for name in names}
