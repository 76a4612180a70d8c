"""A run that is killed in the middle of every stage, again and again, ends with the bytes of one that was not."""

import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from drills.conftest import Undisturbed
from drills.tiny_command import PART, STAGES, TinyCommand, results

pytestmark = pytest.mark.drill
_IN_RECOVERY = 5
_IN_LAYOUT = 4


@pytest.mark.parametrize("seed", range(2))
def test_it_ends_with_the_same_bytes_after_a_kill_in_every_stage(
    seed: int, command: TinyCommand, undisturbed: Undisturbed, tmp_path: Path, counted: Counter[str]
) -> None:
    """Each process goes on where the one before was killed, so that a stage is hardly ever computed twice."""
    moments = random.Random(seed)
    for stage in STAGES:
        for _ in range(_IN_RECOVERY if stage == "recover" else 1):
            how = moments.choice(["SIGKILL", "SIGKILL to the group", "SIGTERM", "SIGTERM to the group", "SIGINT"])
            run = command.start(tmp_path / "output", tmp_path / "home")
            if run.reaches(f"{stage}: started", moments.uniform(0, PART * undisturbed.seconds[stage])):
                number = signal.Signals[how.split()[0]]
                run.signal(number, group="group" in how)
                code = run.wait(20)
                expected = -number if number == signal.SIGKILL else 128 + number
                # It may have ended in the same moment.
                assert code in (expected, 0), run.said
                assert number == signal.SIGKILL or "Traceback" not in run.said
                counted[how] += 1
                counted[f"kill in the stage {stage}"] += 1
            else:
                assert run.code == 0, run.said
    # Of laying out and registering, which follow the report.
    for _ in range(_IN_LAYOUT):
        run = command.start(tmp_path / "output", tmp_path / "home")
        if run.reaches("report: nothing to compute", moments.uniform(0, 2)):
            run.signal(signal.SIGKILL)
            run.wait()
            counted["kill while results are laid out and registered"] += 1
    last = command.start(tmp_path / "output", tmp_path / "home")
    assert last.wait() == 0, last.said
    assert results(tmp_path / "output") == undisturbed.results
    left = [path.name for folder in (tmp_path, tmp_path / "output") for path in folder.glob(".*.partial")]
    assert left == []
