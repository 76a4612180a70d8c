"""A model pruned by the command line from disk, compared with the same model in memory.

python benchmarks/disk_and_memory.py MODEL TEXT FOLDER [--sparsities 0.5 2:4] [--cgroup CGROUP] [--output RESULT.json]

Runs ``optishear prune`` in bfloat16 for each sparsity, first from disk, then in memory. Each way has a home folder of
its own in FOLDER, so that nothing is taken from the artifacts of the other; a second sparsity takes the statistics of
the first. Compares the files that both ways wrote, byte for byte, and prints peaks and minutes. What is in FOLDER from
an earlier run is not computed again. CGROUP is the folder of a memory cgroup with a limit, in which the runs from disk
are, with all their processes.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

GIB = 2**30


@dataclass(frozen=True)
class Way:
    """How a model is pruned, and where its numbers and its output are.

    Attributes:
        folder: of the benchmark.
        name: disk or memory.
        sparsity: as the command's.
        flags: further ones of the command.
    """

    folder: Path
    name: str
    sparsity: str
    flags: tuple[str, ...]

    @property
    def output(self) -> Path:
        """The output folder, which has the digest of the flags in its name."""
        digest = hashlib.sha256(" ".join(self.flags).encode()).hexdigest()[:8]
        return self.folder / f"{self.name}-{self.sparsity.replace(':', 'of')}-{digest}"


def prune(model: Path, text: Path, way: Way, cgroup: Path | None) -> Any:
    """Prune once, in a cgroup if there is one.

    Returns:
        The seconds, the peak resident bytes of the largest of the command's processes, and the limit.
    """
    record = way.output.with_name(f"{way.output.name}.json")
    if record.exists():
        return json.loads(record.read_text())
    command = [
        sys.executable, "-m", "flows.command_line", "prune", "--model", str(model), "--calibration", str(text),
        "--sparsity", way.sparsity, "--device", "disk" if way.name == "disk" else "cpu", "--output", str(way.output),
        *way.flags,
    ]  # fmt: skip
    environment = {
        **os.environ,
        "OPTISHEAR_HOME": str(way.folder / f"home-{way.name}"),
        # Freed memory is given back, and Arrow keeps none in store.
        "MALLOC_MMAP_THRESHOLD_": str(2**20),
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, preexec_fn=None if cgroup is None else partial(enter, cgroup))
    # Of the process and of those that it waited for.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{way.output.name} ended with {process.returncode}")
    found = {"peak_bytes": usage.ru_maxrss * 1024, "seconds": time.perf_counter() - started}
    if cgroup is not None:
        limits = [cgroup / name for name in ("memory.max", "memory.limit_in_bytes")]  # of version 2, of version 1
        found["limit_bytes"] = next(int(limit.read_text()) for limit in limits if limit.exists())
    record.write_text(json.dumps(found))
    return found


def enter(cgroup: Path) -> None:
    """Bring this process into a cgroup."""
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))


def digests(output: Path) -> dict[str, str]:
    """The SHA-256 of what a run wrote that both ways should write alike: all but the record of the run."""
    found = {}
    for path in sorted(output.rglob("*")):
        if path.is_file() and not path.relative_to(output).parts[0].startswith("."):
            with path.open("rb") as file:
                found[str(path.relative_to(output))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def compared(first: Path, second: Path) -> tuple[list[str], list[str]]:
    """The names of the files of two outputs that are the same, and of those that are not."""
    one, two = digests(first), digests(second)
    names = sorted(one.keys() | two.keys())
    same = [name for name in names if one.get(name) == two.get(name)]
    return same, [name for name in names if name not in same]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model", type=Path)
    options.add_argument("text", type=Path)
    options.add_argument("folder", type=Path)
    options.add_argument("--sparsities", nargs="+", default=["0.5", "2:4"])
    options.add_argument("--output", type=Path, help="a file for the numbers")
    options.add_argument("--sequences", type=int, default=8, help="of the calibration")
    options.add_argument("--length", type=int, default=256, help="tokens of each")
    options.add_argument("--reconstruction", default="none", help="as the command's")
    options.add_argument("--exclude", help="as the command's")
    options.add_argument("--cgroup", type=Path, help="folder of a memory cgroup for the runs from disk")
    arguments = options.parse_args()
    flags = (
        "--dtype", "bfloat16", "--sequences", str(arguments.sequences), "--sequence-length", str(arguments.length),
        "--reconstruction", arguments.reconstruction, *(("--exclude", arguments.exclude) if arguments.exclude else ()),
    )  # fmt: skip
    arguments.folder.mkdir(parents=True, exist_ok=True)
    size = sum(path.stat().st_size for path in arguments.model.glob("*.safetensors"))
    print(f"weights: {size / GIB:.2f} GiB; {' '.join(flags)}", flush=True)
    results: dict[str, Any] = {"weights_bytes": size, "flags": flags, "runs": {}}
    for sparsity in arguments.sparsities:
        runs = results["runs"][sparsity] = {}
        ways = [Way(arguments.folder, name, sparsity, flags) for name in ("disk", "memory")]
        for way in ways:
            cgroup = arguments.cgroup if way.name == "disk" else None
            runs[way.name] = found = prune(arguments.model, arguments.text, way, cgroup)
            peak, minutes = found["peak_bytes"] / GIB, found["seconds"] / 60
            limit = f", limit {found['limit_bytes'] / GIB:.2f} GiB" if "limit_bytes" in found else ""
            print(f"{sparsity} {way.name}: peak {peak:.2f} GiB resident{limit}, {minutes:.1f} minutes", flush=True)
        runs["same"], runs["different"] = compared(ways[0].output, ways[1].output)
        print(f"{sparsity} the same bytes: {', '.join(runs['same'])}")
        if runs["different"]:
            print(f"{sparsity} DIFFERENT: {', '.join(runs['different'])}")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
