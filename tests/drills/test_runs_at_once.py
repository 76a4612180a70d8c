"""Several runs at once: with one home folder, with one output folder, and the very first ones of a home folder."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from drills.conftest import Undisturbed
from drills.tiny_command import TinyCommand, results
from servers.processes import REPOSITORY, python

pytestmark = pytest.mark.drill


@pytest.mark.parametrize("count", [2, 4])
def test_all_of_one_home_end_as_one_alone(
    count: int, command: TinyCommand, undisturbed: Undisturbed, tmp_path: Path, counted: Counter[str]
) -> None:
    outputs = [tmp_path / f"output-{number}" for number in range(count)]
    runs = [command.start(output, tmp_path / "home") for output in outputs]
    for run in runs:
        assert run.wait(900) == 0, run.said
    assert [results(output) for output in outputs] == [undisturbed.results] * count
    assert len(list((tmp_path / "home" / "artifacts" / "search").glob("[!.]*"))) == 1
    counted[f"{count} runs at once with one home folder"] += 1


def test_the_second_into_one_folder_is_refused_and_names_the_first(
    command: TinyCommand, undisturbed: Undisturbed, tmp_path: Path, counted: Counter[str]
) -> None:
    first = command.start(tmp_path / "output", tmp_path / "home")
    assert first.reaches("calibrate: started")
    second = command.start(tmp_path / "output", tmp_path / "home")
    assert second.wait() == 2, second.said
    assert f"process {first.number}" in second.said
    assert first.wait() == 0, first.said
    assert results(tmp_path / "output") == undisturbed.results
    counted["2 runs at once into one output folder"] += 1


def test_two_first_runs_of_a_home_start_its_servers(
    command: TinyCommand, tmp_path: Path, counted: Counter[str]
) -> None:
    """Both make the databases of Prefect and of MLflow."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    environment |= {"OPTISHEAR_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    flags = [word for name in ("model", "calibration", "device") for word in (f"--{name}", command.flags[name])]
    processes = [
        subprocess.Popen(
            python(
                "flows.command_line", "statistics", *flags, "--sequences", "4", "--sequence-length", "32",
                "--output", str(tmp_path / f"output-{number}"),
            ),
            cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "Traceback" not in "".join(said)
    counted["2 first runs of a home folder at once"] += 1
