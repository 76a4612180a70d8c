"""The journal: what has been measured, so that nothing is measured twice."""

import hashlib
import json
import os
from pathlib import Path

# Values by name: one for each sequence or layer that was measured, and ``seconds`` among them.
Measurement = dict[str, list[float]]


class Journal:
    """Measurements by key, in memory and, where a path is given, in a journal that survives a kill.

    The journal is a file of JSON lines, one written for each measurement before the next begins. A line that a
    kill tore is passed over. A journal serves every search on the same model, statistics and calibrations, also
    several at a time; who names its path answers for that.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open a journal with the measurements of an earlier search."""
        self._path = path
        self._measured: dict[str, Measurement] = {}
        self._ends_whole = True
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self._read(path)

    def __len__(self) -> int:
        return len(self._measured)

    def get(self, key: str) -> Measurement | None:
        """The measurement of a key, as it was kept last."""
        return self._measured.get(key)

    def put(self, key: str, measured: Measurement) -> None:
        """Keep a measurement, in place of what was kept under the key before."""
        self._measured[key] = measured
        if self._path is not None:
            line = json.dumps({"key": key, **measured}) + "\n"
            with self._path.open("a", encoding="utf-8") as journal:
                # A torn line before this one must not take it along.
                journal.write(line if self._ends_whole else "\n" + line)
                journal.flush()
                os.fsync(journal.fileno())
            self._ends_whole = True

    def _read(self, path: Path) -> None:
        content = path.read_bytes()
        self._ends_whole = content.endswith(b"\n") or not content
        for line in content.splitlines():
            try:
                record = json.loads(line)
                self._measured[record.pop("key")] = record
            except (ValueError, KeyError, AttributeError, TypeError):
                continue


def measurement_key(*parts: str | int) -> str:
    """A short key from whatever decides a measurement."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
