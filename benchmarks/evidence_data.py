"""What is kept of a command's results: tables as CSV, recipes and metrics, without what every repetition changes."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq

# What a table holds for programs alone.
_NESTED = ("metrics", "sparsity_ratios")
# Cached stages, and the version of the model in this machine's registry.
_OF_ONE_RUN = ("cached", "registered")
_TOO_BIG = ("statistics.parquet", "calibration.parquet")


def kept(folder: Path, without: tuple[str, ...] = _OF_ONE_RUN) -> dict[str, str]:
    """The files to keep, by their path in the folder, as text.

    Args:
        folder: a command's output.
        without: keys that are left out of ``metrics.json``, at any depth.
    """
    files = {}
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if "model" in inside.parts or file.name in _TOO_BIG:
            continue
        if file.suffix == ".parquet":
            files[str(inside.with_suffix(".csv"))] = _csv(file)
        elif file.name == "metrics.json":
            content = without_keys(json.loads(file.read_text(encoding="utf-8")), without)
            files[str(inside)] = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        elif file.suffix == ".yaml":
            files[str(inside)] = file.read_text(encoding="utf-8")
    return files


def results_digest(folder: Path) -> str:
    """A digest of the measurements, independent of the command; empty if there are none."""
    files = kept(folder, (*_OF_ONE_RUN, "parameters"))
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest() if files else ""


def without_keys(value: Any, keys: tuple[str, ...]) -> Any:
    """Nested mappings and lists without some keys."""
    if isinstance(value, dict):
        return {key: without_keys(item, keys) for key, item in value.items() if key not in keys}
    return [without_keys(item, keys) for item in value] if isinstance(value, list) else value


def _csv(file: Path) -> str:
    table = pq.read_table(file)
    flat = table.drop_columns([column for column in _NESTED if column in table.column_names])
    written = io.BytesIO()
    pyarrow.csv.write_csv(flat, written)
    return written.getvalue().decode()
