"""A text file gives documents that are text, or one sentence; so do the Parquet files of sets and statistics."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bad_input.attack import attack, result_of
from bad_input.strategies import changed, damaged
from optishear.calibration.calibration_set import CalibrationSet
from optishear.calibration.text import hub_name, read_documents
from optishear.statistics.statistics import Statistics
from tiny import random_calibration

_ROWS = [{"text": "one two", "id": 1}, {"text": "é\n三", "id": 2}]
_LINES = "\n".join(json.dumps(row) for row in _ROWS).encode()


def _written(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


_COLUMNS = st.sampled_from(
    [
        pa.array(["one", None, " "]),
        pa.array([1.0, float("nan"), float("inf")], pa.float32()),
        pa.array([-1, 2**31 - 1, None], pa.int32()),
        pa.array([2**62, 0, 1], pa.int64()),
        pa.array([[1.0, 2.0], [3.0], []], pa.list_(pa.float32())),
        pa.array([[1.0, float("nan")], [-1.0, 2.0], [0.0, 1.0]], pa.list_(pa.float32())),
        pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int32())),
        pa.array([[1, 2], None, [None, 6]], pa.list_(pa.int64())),
        pa.array([b"\xff", b"", None], pa.binary()),
        pa.array([{"a": 1}, None, {"a": 2}]),
        pa.array(["a", "a", "b"]).dictionary_encode(),
        pa.nulls(3),
        pa.array([True, False, None]),
    ]
)
_NAMES = st.sampled_from(["text", "layer", "squared_norms", "tokens", "sequence", "other", ""])
_OWN = [("text",), ("layer", "squared_norms"), ("layer", "squared_norms", "tokens"), ("sequence", "tokens")]
_TABLES = st.one_of(
    st.dictionaries(_NAMES, _COLUMNS, max_size=4),
    *[st.fixed_dictionaries(dict.fromkeys(own, _COLUMNS)) for own in _OWN],
).map(pa.table)


def _check_documents(file: Path, seed: int | None) -> None:
    documents = result_of(lambda: list(read_documents(str(file), seed=seed)))
    for document in documents or []:
        assert document.strip()
        document.encode("utf-8")


@given(rows=changed(_ROWS), seed=st.sampled_from([None, 0]))
@attack(80)
def test_lines_of_json(rows: Any, seed: int | None, tmp_path: Path) -> None:
    file = tmp_path / "text.jsonl"
    rows = rows if isinstance(rows, list) else [rows]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    _check_documents(file, seed)


@given(content=damaged(_LINES) | st.binary(max_size=30), ending=st.sampled_from(["jsonl", "txt", "parquet"]))
@attack(100)
def test_damaged_text(content: bytes, ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"text.{ending}"
    file.write_bytes(content)
    _check_documents(file, None)


@given(table=_TABLES)
@attack(80)
def test_a_table_of_text(table: pa.Table, tmp_path: Path) -> None:
    file = tmp_path / "text.parquet"
    file.write_bytes(_written(table))
    _check_documents(file, None)


@given(source=st.text(st.sampled_from("ab./ :~\\é-_"), max_size=12).map("hub:".__add__))
@attack(100)
def test_a_name_on_the_hub(source: str) -> None:
    found = result_of(lambda: hub_name(source))
    assert found is None or not {"..", ".", ""} & {*found[0].split("/"), found[1]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a calibration set and of statistics."""
    folder = tmp_path_factory.mktemp("whole")
    random_calibration().save(folder / "calibration.parquet")
    Statistics({"a": torch.ones(4), "b.0": torch.rand(4)}, tokens={"b.0": 3}).save(folder / "statistics.parquet", {})
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@given(data=st.data())
@attack(80)
def test_a_calibration_set(data: st.DataObject, whole: dict[str, bytes], tmp_path: Path) -> None:
    file = tmp_path / "calibration.parquet"
    file.write_bytes(data.draw(_TABLES.map(_written) | damaged(whole[file.name])))
    loaded = result_of(lambda: CalibrationSet.load(file))
    if loaded is not None and b"digest" in (pq.read_schema(file).metadata or {}):
        assert torch.equal(loaded.tokens, random_calibration().tokens)


@given(data=st.data())
@attack(80)
def test_statistics(data: st.DataObject, whole: dict[str, bytes], tmp_path: Path) -> None:
    file = tmp_path / "statistics.parquet"
    file.write_bytes(data.draw(_TABLES.map(_written) | damaged(whole[file.name])))
    loaded = result_of(lambda: Statistics.load(file))
    for name, values in (loaded.squared_norms if loaded else {}).items():
        used = result_of(lambda name=name, values=values: loaded.of(name, len(values)))
        assert used is None or bool((used >= 0).all())
    assert all(count >= 0 for count in (loaded.tokens if loaded else {}).values())
