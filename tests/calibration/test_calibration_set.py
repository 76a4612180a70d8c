import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from optishear.calibration.calibration_set import CalibrationSet
from optishear.errors import InputError

TOKENS = torch.tensor([[1, 2, 3], [4, 5, 70_000]])


def test_the_digest_is_that_of_length_and_tokens() -> None:
    expected = hashlib.sha256(torch.tensor([3, 1, 2, 3, 4, 5, 70_000], dtype=torch.int32).numpy().tobytes())
    assert CalibrationSet(TOKENS, "self").digest == expected.hexdigest()


def test_the_same_tokens_in_other_blocks_have_another_digest() -> None:
    assert CalibrationSet(TOKENS, "self").digest != CalibrationSet(TOKENS.reshape(3, 2), "self").digest


def test_save_and_load_give_the_same_set(tmp_path: Path) -> None:
    path = tmp_path / "calibration.parquet"
    CalibrationSet(TOKENS, "hub:allenai/c4/en").save(path, {"seed": "7"})
    loaded = CalibrationSet.load(path)
    assert torch.equal(loaded.tokens, TOKENS)
    assert loaded.tokens.dtype == torch.int64
    assert loaded.source == "hub:allenai/c4/en"
    assert loaded.digest == CalibrationSet(TOKENS, "self").digest


def test_documents_and_bos_are_kept_where_they_are_known(tmp_path: Path) -> None:
    path = tmp_path / "calibration.parquet"
    CalibrationSet(TOKENS, "a.txt", documents=2, bos="each-window").save(path)
    metadata = pq.read_schema(path).metadata
    assert (metadata[b"documents"], metadata[b"bos"]) == (b"2", b"each-window")
    loaded = CalibrationSet.load(path)
    assert (loaded.documents, loaded.bos) == (2, "each-window")


def test_a_file_without_documents_and_bos_loads(tmp_path: Path) -> None:
    path = tmp_path / "calibration.parquet"
    CalibrationSet(TOKENS, "a.txt").save(path)
    assert not {b"documents", b"bos"} & set(pq.read_schema(path).metadata)
    loaded = CalibrationSet.load(path)
    assert (loaded.documents, loaded.bos) == (None, None)


def test_the_file_has_the_documented_schema(tmp_path: Path) -> None:
    path = tmp_path / "calibration.parquet"
    CalibrationSet(TOKENS, "self").save(path, {"seed": "7"})
    table = pq.read_table(path)
    assert table.column("sequence").type == pa.int32()
    assert table.column("tokens").type == pa.list_(pa.int32())
    assert table.column("sequence").to_pylist() == [0, 1]
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata == {
        "source": "self",
        "digest": CalibrationSet(TOKENS, "self").digest,
        "sequences": "2",
        "sequence_length": "3",
        "seed": "7",
    }


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"tokens": [[1, 2]]}, "no column 'sequence'"),
        ({"sequence": [0]}, "no column 'tokens'"),
        ({"sequence": [0], "tokens": ["text"]}, "wrong type"),
        ({"sequence": pa.array([], pa.int32()), "tokens": pa.array([], pa.list_(pa.int32()))}, "holds no tokens"),
        ({"sequence": [0, 1], "tokens": pa.array([[], []], pa.list_(pa.int32()))}, "holds no tokens"),
        ({"sequence": [0, 1], "tokens": [[1, 2], [3]]}, r"unequal length \(1 to 2 tokens\)"),
        ({"sequence": [0, 1], "tokens": [[1, 2], None]}, r"unequal length \(0 to 2 tokens\)"),
        ({"sequence": [0], "tokens": [[1, -2]]}, "negative"),
        ({"sequence": [0], "tokens": [[1, None]]}, "missing"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, columns: dict[str, object], reason: str) -> None:
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=reason) as error:
        CalibrationSet.load(path)
    assert str(path) in str(error.value)


def test_tokens_that_do_not_match_the_digest_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.parquet"
    CalibrationSet(TOKENS, "self").save(path)
    table = pq.read_table(path)
    changed = table.set_column(1, table.schema.field("tokens"), pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.int32())))
    pq.write_table(changed, path)
    with pytest.raises(InputError, match="damaged"):
        CalibrationSet.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        CalibrationSet.load(tmp_path / "none.parquet")


@pytest.mark.parametrize("content", [b"", b"tokens"])
def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        CalibrationSet.load(path)
