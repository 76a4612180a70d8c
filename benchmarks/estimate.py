"""Expected against real time of whole runs.

    python benchmarks/estimate.py
    python benchmarks/estimate.py --configurations reconstruction tasks
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/estimate.py   # as a processor without bfloat16

Each run has a home folder of its own, so that it computes every stage. The expected time is the one that the run
announces after its measured pass; the real one is that of its stages.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import MODEL, data_folder

from optishear.file_names import METRICS
from optishear.run_metrics.file import read_metrics
from optishear.run_metrics.schema import RunMetrics

TARGET = 0.3


def configurations() -> dict[str, dict[str, Any]]:
    """The parameters of ``optishear run`` by the name of a configuration."""
    c4 = str(data_folder() / "calibration" / "c4_sample.jsonl")
    tasks = data_folder().parent / "lm_eval_tasks"
    return {
        # The demo: self-generated text, a search by trials, masks alone.
        "demo": {
            "calibration": "self",
            "sequences": 16,
            "search_sequences": 4,
            "trials": 80,
            "windows": 16,
            "masks_only": True,
        },
        # Text from a file, N:M, a short search, new weights by ADMM, and recovery.
        "reconstruction": {
            "sparsity": "2:4",
            "calibration": c4,
            "sequences": 16,
            "search_sequences": 4,
            "trials": 30,
            "windows": 8,
            "reconstruction": "admm",
            "recovery_tokens": 4096,
        },
        # Longer sequences, a search by time, and benchmark tasks beside the perplexity.
        "tasks": {
            "calibration": c4,
            "sequences": 8,
            "sequence_length": 1024,
            "search_sequences": 2,
            "budget": "60s",
            "windows": 4,
            "suite": "paper",
            "include_path": str(tasks),
            "limit": 5,
            "masks_only": True,
        },
    }


def measure(parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a configuration; returns its stages' expected and real seconds."""
    output, config = folder / "output", folder / "run.yaml"
    config.write_text(json.dumps({"model": MODEL, "sparsity": "0.5", **parameters, "output": str(output)}))
    subprocess.run(
        [sys.executable, "-m", "flows.command_line", "run", "--config", str(config)],
        env={**os.environ, "OPTISHEAR_HOME": str(folder / "home")},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    metrics = read_metrics(output / METRICS, RunMetrics)
    times = {
        time.stage: (time.expected_seconds, time.seconds)
        for time in metrics.times or []
        if time.expected_seconds is not None and time.seconds is not None
    }
    expected, real = (sum(seconds) for seconds in zip(*times.values(), strict=True))
    return {
        "expected_seconds": round(expected, 1),
        "seconds": round(real, 1),
        "ratio": round(expected / real, 3),
        "stages": {stage: [round(seconds, 1) for seconds in pair] for stage, pair in times.items()},
        "precision": asdict(metrics.precision),
    }


def main() -> None:
    known = configurations()
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--configurations", nargs="+", choices=list(known), default=list(known))
    arguments = options.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for name in arguments.configurations:
        with tempfile.TemporaryDirectory(prefix="optishear-estimate-") as folder:
            results[name] = measure(known[name], Path(folder))
        print(f"{name}: expected {results[name]['expected_seconds']} s, took {results[name]['seconds']} s", flush=True)
    worst = max(abs(result["ratio"] - 1) for result in results.values())
    print(json.dumps({"configurations": results, "largest_error": round(worst, 3), "target": TARGET}))


if __name__ == "__main__":
    main()
