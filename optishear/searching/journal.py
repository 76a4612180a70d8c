"""The journal of measurements, so that nothing is measured twice."""

import hashlib
import json
import os
from pathlib import Path

# Values by name, one for each sequence or layer; ``seconds`` is one of the names.
Measurement = dict[str, list[float]]


class Journal:
    """Measurements by key, in memory and optionally in a file from which a killed search resumes.

    The file has one JSON line for each measurement, written before the next measurement starts. An incomplete line
    is skipped. All searches on the same model, statistics and calibrations can use one journal, even at the same
    time. The caller must choose the path accordingly.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open a journal with the measurements of an earlier search."""
        self._path = path
        self._measurements: dict[str, Measurement] = {}
        self._ends_with_newline = True
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self._read(path)

    def __len__(self) -> int:
        return len(self._measurements)

    def get(self, key: str) -> Measurement | None:
        """The latest measurement of a key."""
        return self._measurements.get(key)

    def put(self, key: str, measurement: Measurement) -> None:
        """Store a measurement; it replaces an earlier one with the same key."""
        self._measurements[key] = measurement
        if self._path is not None:
            line = json.dumps({"key": key, **measurement}) + "\n"
            with self._path.open("a", encoding="utf-8") as journal:
                # After an incomplete line, this one must start on its own line.
                journal.write(line if self._ends_with_newline else "\n" + line)
                journal.flush()
                os.fsync(journal.fileno())
            self._ends_with_newline = True

    def _read(self, path: Path) -> None:
        content = path.read_bytes()
        self._ends_with_newline = content.endswith(b"\n") or not content
        for line in content.splitlines():
            try:
                record = json.loads(line)
                self._measurements[record.pop("key")] = record
            except (ValueError, KeyError, AttributeError, TypeError):
                continue


def measurement_key(*parts: str | int) -> str:
    """A short key from everything that determines a measurement."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
