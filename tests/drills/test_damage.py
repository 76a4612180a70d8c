"""A bit that flips in what is kept, with size and time as before, is found, and the stage is computed again."""

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from drills.conftest import Undisturbed
from drills.tiny_command import TinyCommand, results

pytestmark = pytest.mark.drill
_KINDS = {
    "files of artifacts": "artifacts/*/*/**/*",
    "records of artifacts": "artifacts/*/*/record.json",
    "lines of journals": "journals/*.jsonl",
    "stored results of Prefect": "results/**/*",
}


def flip_bit(path: Path, moments: random.Random) -> None:
    """Change one bit of a file, with its size and its times as they were."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[moments.randrange(len(content))] ^= 1 << moments.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("kind", _KINDS)
def test_it_ends_with_the_same_bytes(
    kind: str,
    command: TinyCommand,
    undisturbed: Undisturbed,
    undisturbed_home: Path,
    tmp_path: Path,
    counted: Counter[str],
) -> None:
    home = shutil.copytree(undisturbed_home, tmp_path / "home", symlinks=True)
    moments = random.Random(0)
    damaged = [path for path in sorted(home.glob(_KINDS[kind])) if path.is_file() and path.stat().st_size]
    if kind == "files of artifacts":
        damaged = [path for path in damaged if path.name != "record.json"]
    assert damaged
    for path in damaged:
        flip_bit(path, moments)
    if kind == "lines of journals":  # from which the search is read again
        shutil.rmtree(home / "artifacts" / "search")
    run = command.start(tmp_path / "output", home)
    assert run.wait() == 0, run.said
    assert "Traceback" not in run.said
    if kind == "files of artifacts":
        assert run.said.count("is damaged or missing") >= len({path.relative_to(home).parts[1] for path in damaged})
    assert results(tmp_path / "output") == undisturbed.results
    counted[f"flipped bits in {kind}"] += len(damaged)
