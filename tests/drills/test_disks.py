"""A disk that gets full, read-only or is taken away in the middle of a stage ends the run in one sentence.

Once it is as before, the same command goes on, and ends with the bytes of a run that nothing happened to.
"""

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drills.conftest import Undisturbed
from drills.tiny_command import PART, STAGES, TinyCommand, results
from own_disk import fill, own_disk
from servers.processes import wait_until

pytestmark = pytest.mark.drill


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Take all that is free."""
    ballast = fill(disk)
    yield
    ballast.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let nothing be opened for writing any more; files that are open already take no part in it."""
    subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
    # Refused while a file is being written that was opened in the moment between the two.
    protect = ["mount", "-o", "remount,bind,ro", str(disk)]
    wait_until(lambda: subprocess.run(protect, capture_output=True, check=False).returncode == 0, "a pause", 60)
    yield
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def gone(disk: Path) -> Iterator[None]:
    """Take the folders of the disk away."""
    away = disk / "away"
    away.mkdir()
    names = [name for name in ("home", "output") if (disk / name).exists()]
    for name in names:
        (disk / name).rename(away / name)
    yield
    for name in names:
        shutil.rmtree(disk / name, ignore_errors=True)
        (away / name).rename(disk / name)
    away.rmdir()


_WAYS = {"full": full, "read-only": read_only, "gone": gone}


@pytest.mark.parametrize("seed", range(3))
def test_it_ends_in_a_sentence_and_goes_on(
    seed: int, command: TinyCommand, undisturbed: Undisturbed, tmp_path: Path, counted: Counter[str]
) -> None:
    moments = random.Random(seed)
    with own_disk(tmp_path / "disk", 200) as disk:
        for number, stage in enumerate(STAGES):
            how = list(_WAYS)[(number + seed) % len(_WAYS)]
            run = command.start(disk / "output", disk / "home")
            if run.reaches(f"{stage}: started", moments.uniform(0, PART * undisturbed.seconds[stage])):
                with _WAYS[how](disk):
                    code = run.wait()
                end = run.said[run.said.index(f"{stage}: started") :]
                print(f"--- {how} in {stage}: {code}\n{end}")
                counted[f"disk {how}: exit code {code}"] += 1
                counted[f"disk broken in the stage {stage}"] += 1
                assert "Traceback" not in end
                assert code in (0, 2)
                if code:
                    (sentence,) = [line for line in end.splitlines() if line.startswith("Error: ")]
                    assert str(disk) in sentence
                    assert ".partial" not in sentence
                    assert how != "gone" or f"{str(disk / 'home')!r} has gone" in sentence
            else:
                assert run.code == 0, run.said
        last = command.start(disk / "output", disk / "home")
        assert last.wait() == 0, last.said
        assert results(disk / "output") == undisturbed.results
