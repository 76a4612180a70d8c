"""The record of a section's results: ``run.json`` beside them, and the command's output in ``said.md``."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from evidence_data import results_digest

from optishear.files import write_text

OUTPUT = "said.md"
RUN = "run.json"


@dataclass(frozen=True)
class Record:
    """The record of a section's results.

    Attributes:
        command: as one would type it.
        date: of the day.
        seconds: that the command took.
        machine: what it ran on.
        software: and with what.
        results: digest of what was measured.
        incomplete: whether the command failed after it had laid out some of it.
    """

    command: list[str]
    date: str
    seconds: int
    machine: str
    software: str
    results: str
    incomplete: bool = False


def load_record(folder: Path) -> Record | None:
    """The record beside the results; ``None`` where there is none. One without a digest is of what is there."""
    if not (folder / RUN).exists():
        return None
    content = json.loads((folder / RUN).read_text(encoding="utf-8"))
    return Record(**{"results": results_digest(folder), **content})


def save_record(folder: Path, record: Record, output: str) -> None:
    """Write the record and the words; without words, those of an earlier run go."""
    # A record is of the words beside it at every moment.
    (folder / RUN).unlink(missing_ok=True)
    if output:
        write_text(folder / OUTPUT, output + "\n")
    else:
        (folder / OUTPUT).unlink(missing_ok=True)
    write_text(folder / RUN, json.dumps(asdict(record), indent=1) + "\n")


def load_output(folder: Path) -> str:
    """The command's output; empty if there was none."""
    file = folder / OUTPUT
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""
