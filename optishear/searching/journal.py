"""The journal of measurements, so that nothing is measured twice."""

import hashlib
import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from optishear.disk import write_error
from optishear.file_lock import wait_for_lock
from optishear.files import ensure_writable
from optishear.json_file import parse_json

# Values by name, one for each sequence or layer; ``seconds`` is one of the names.
Measurement = dict[str, list[float]]

logger = logging.getLogger("optishear.searching")


class Journal:
    """Measurements by key, in memory and optionally in a file from which a killed search resumes.

    The file has one line for each measurement (``journal_line``), written before the next measurement starts. A line
    that does not hold is dropped, and a warning says how many were. All searches on the same model, statistics and
    calibrations can use one journal, even at the same time. The caller must choose the path accordingly.

    Attributes:
        earlier_seconds: of the measurements of earlier searches that were asked for.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open a journal with the measurements of an earlier search.

        Raises:
            InputError: if its folder cannot be written.
        """
        self._path = path
        self._measurements: dict[str, Measurement] = {}
        # Of measurements in the file that were not asked for yet, by key.
        self._seconds: dict[str, float] = {}
        self.earlier_seconds = 0.0
        if path is not None:
            ensure_writable(path.parent)
            if path.exists():
                self._read(path)

    def __len__(self) -> int:
        return len(self._measurements)

    def get(self, key: str) -> Measurement | None:
        """The latest measurement of a key."""
        self.earlier_seconds += self._seconds.pop(key, 0.0)
        return self._measurements.get(key)

    def sequences(self, key: str) -> int:
        """Number of sequences that a key was measured on; the key is not counted as asked for."""
        return len(self._measurements.get(key, {}).get("seconds", []))

    def put(self, key: str, measurement: Measurement) -> None:
        """Store a measurement; it replaces an earlier one with the same key.

        Raises:
            InputError: if the disk is full, or the journal's folder has gone or cannot be written any more.
        """
        if self._path is not None:
            try:
                _append(self._path, journal_line(key, measurement))
            except OSError as error:
                raise write_error(self._path.parent, error) from error
        self._measurements[key] = measurement

    def _read(self, path: Path) -> None:
        lines = [line for line in path.read_bytes().split(b"\n") if line]
        dropped = 0
        for line in lines:
            record = _parse(line)
            if record is None:
                dropped += 1
            else:
                key, measurement = record
                self._measurements[key], self._seconds[key] = measurement, sum(measurement["seconds"])
        if dropped:
            logger.warning(
                "%s: dropped %d of %d lines that are damaged or incomplete; what they held is measured again",
                path,
                dropped,
                len(lines),
            )


def journal_line(key: str, measurement: Measurement) -> bytes:
    """The line of a measurement: JSON with its key, its values and the SHA-256 of both; without the line's end."""
    record = {"key": key, "values": measurement}
    digest = hashlib.sha256(json.dumps(record).encode()).hexdigest()
    return json.dumps({**record, "sha256": digest}).encode()


def measurement_key(*parts: str | int) -> str:
    """A short key from everything that determines a measurement."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _parse(line: bytes) -> tuple[str, Measurement] | None:
    """Key and measurement of a line; ``None`` if it does not hold: if what it says is not written like this."""
    try:
        record = parse_json(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    key, values = record.get("key"), record.get("values")
    if not isinstance(key, str) or not _is_measurement(values) or journal_line(key, values) != line:
        return None
    return key, values


def _is_measurement(values: Any) -> TypeGuard[Measurement]:
    return (
        isinstance(values, dict)
        and isinstance(values.get("seconds"), list)
        and all(
            isinstance(series, list) and all(type(value) in (int, float) for value in series)
            for series in values.values()
        )
    )


def _append(path: Path, line: bytes) -> None:
    """Append a line, whole or not at all; after an incomplete one it begins on its own line."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        wait_for_lock(file)
        size = os.fstat(file).st_size
        start = b"" if size == 0 or os.pread(file, 1, size - 1) == b"\n" else b"\n"
        rest = memoryview(start + line + b"\n")
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
