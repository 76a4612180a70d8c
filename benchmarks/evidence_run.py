"""Run the command of one section, and record its output, machine and date."""

import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import torch
from evidence_data import results_digest
from evidence_record import Record, load_record, save_record
from evidence_sections import Section

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "flows.command_line")
# Paragraphs of a summary that are about one run, not about its results.
_OF_ONE_RUN = ("Done. ", "Nothing had to be computed again. ", "Registered as version ")


def run_section(section: Section, work: Path, program: tuple[str, ...] = COMMAND) -> bool:
    """Run the section's command; whether it succeeded.

    A repetition that finds the results made keeps the record of when they were made. A command that fails after it has
    laid out new results leaves a record that says so; one that fails before leaves everything as it was.
    """
    folder = work / section.name
    # The code that runs is what is checked out now, not at the end.
    software = f"Python {platform.python_version()}, torch {torch.__version__}, commit {commit()}"
    try:
        flags = section.flags(work)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{section.name}: failed before its command, as what it needs could not be made ({error})", flush=True)
        return False
    earlier = load_record(folder)
    print(f"{section.name}: optishear {' '.join(flags)}", flush=True)
    started = time.perf_counter()
    process = subprocess.run(
        [*program, *flags, "--output", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    seconds = round(time.perf_counter() - started)
    failed = process.returncode != 0
    print(f"{section.name}: {f'failed ({process.returncode})' if failed else 'done'} in {seconds} s", flush=True)
    record = Record(
        command=["optishear", *flags],
        date=datetime.now(UTC).date().isoformat(),
        seconds=seconds,
        machine=machine(),
        software=software,
        results=results_digest(folder),
        incomplete=failed,
    )
    if not _repeats(record, earlier) and record.results:
        save_record(folder, record, lasting_words(process.stdout))
    return not failed


def _repeats(record: Record, earlier: Record | None) -> bool:
    """Whether the earlier record still describes the results."""
    if earlier is None or record.results != earlier.results:
        return False
    return record.incomplete or (record.command == earlier.command and not earlier.incomplete)


def lasting_words(printed: str) -> str:
    """A command's output without the places of the results and without lines that differ when it is repeated."""
    *paragraphs, _where = re.split(r"\n{2,}", printed.strip())
    return "\n\n".join(words for words in paragraphs if not words.startswith(_OF_ONE_RUN))


def machine() -> str:
    """What it runs on."""
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
    return f"{model}, {psutil.cpu_count(logical=True)} cores, {memory:.0f} GiB{gpu}"


def commit() -> str:
    """The commit that is checked out, marked where files differ from it."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False).stdout.strip() or "unknown"
