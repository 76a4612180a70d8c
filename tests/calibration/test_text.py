import json
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optishear.calibration import hub, text
from optishear.calibration.text import check_source, read_documents
from optishear.errors import InputError
from wording import refused

DOCUMENTS = [f"document {number}" for number in range(50)]


def write_txt(path: Path, documents: list[Any]) -> None:
    path.write_text("\n".join(documents), encoding="utf-8")


def write_jsonl(path: Path, documents: list[Any]) -> None:
    path.write_text("\n".join(json.dumps({"text": document, "url": "x"}) for document in documents), encoding="utf-8")


def write_parquet(path: Path, documents: list[Any]) -> None:
    pq.write_table(pa.table({"url": ["x"] * len(documents), "text": documents}), path)


WRITERS: dict[str, Callable[[Path, list[Any]], None]] = {"jsonl": write_jsonl, "parquet": write_parquet}


@pytest.fixture(params=sorted(WRITERS))
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[list[Any]], str]:
    """Writes documents to a file of each kind in turn that holds many."""

    def write(documents: list[Any]) -> str:
        path = tmp_path / f"text.{request.param}"
        WRITERS[request.param](path, documents)
        return str(path)

    return write


def test_a_txt_file_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    write_txt(path, ["one", "", "zwölf"])
    assert list(read_documents(str(path))) == ["one\n\nzwölf"]


def test_documents_come_in_the_order_of_the_file(make: Callable[[list[Any]], str]) -> None:
    assert list(read_documents(make(DOCUMENTS))) == DOCUMENTS


def test_blank_documents_are_left_out(make: Callable[[list[Any]], str]) -> None:
    assert list(read_documents(make(["", "a", " \n", None, "b"]))) == ["a", "b"]


@pytest.mark.parametrize("buffer", [4, 10_000])
def test_a_seed_draws_the_order(make: Callable[[list[Any]], str], buffer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_FILE_BUFFER", buffer)
    source = make(DOCUMENTS)
    first, again, other = (list(read_documents(source, seed=seed)) for seed in (0, 0, 1))
    assert sorted(first) == sorted(DOCUMENTS)
    assert first == again
    assert first not in (DOCUMENTS, other)


def test_no_more_is_read_than_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text('{"text": "good"}\nnot JSON', encoding="utf-8")
    documents = read_documents(str(path))
    assert next(documents) == "good"
    with pytest.raises(InputError, match=r"Line 2 .* is not JSON"):
        next(documents)


def test_the_python_docs_are_the_topics_in_sorted_order() -> None:
    assert list(read_documents("python-docs")) == [topics[name] for name in sorted(topics)]


@pytest.mark.parametrize(
    "source", ["hub:", "hub:..", "hub:a b", "hub:a/../b", "hub:a/b/..", "hub:a/b/c d", "hub:a/b/c/d"]
)
def test_a_name_that_the_hub_cannot_have_is_refused(source: str) -> None:
    with refused(source):
        check_source(source)


@pytest.mark.parametrize("source", ["", "self", "c4", "text.csv", "hub", "python-docs.md"])
def test_an_unknown_source_is_refused(source: str) -> None:
    with pytest.raises(InputError, match=f"The text '{source}' is of no known kind"):
        check_source(source)


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "parquet"])
def test_a_missing_file_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match="no text file"):
        check_source(str(tmp_path / f"none.{suffix}"))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.txt", b" \n", "is empty"),
        ("empty.jsonl", b"", "is empty"),
        ("blank.jsonl", b'{"text": ""}', "is empty"),
        ("latin.txt", "zwölf".encode("latin-1"), "not UTF-8"),
        ("latin.jsonl", '{"text": "zwölf"}'.encode("latin-1"), "not UTF-8"),
        ("broken.jsonl", b'{"text": ', "not JSON"),
        ("list.jsonl", b'["text"]', "no column 'text'"),
        ("other.jsonl", b'{"content": "words"}', "no column 'text'"),
        ("number.jsonl", b'{"text": 5}', "holds int, not text"),
        ("text.parquet", b"words", "not Parquet"),
    ],
)
def test_a_file_without_text_is_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as error:
        check_source(str(path))
    assert str(path) in str(error.value)


def test_a_parquet_file_without_the_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"content": ["words"]}), path)
    with pytest.raises(InputError, match="no column 'text', only content"):
        check_source(str(path))


class Hub:
    """Stands in for the hub: streams of documents by split, and the calls that asked for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **splits: list[dict[str, Any]]) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fetched = 0
        self.error: Exception | None = None
        self._splits = splits
        monkeypatch.setattr(datasets, "load_dataset", self._load)
        monkeypatch.setattr(hub, "why_unreachable", lambda: None)

    def _rows(self, rows: list[dict[str, Any]]) -> Any:
        for row in rows:
            self.fetched += 1
            yield row

    def _load(self, name: str, config: str | None, streaming: bool) -> Any:
        self.calls.append((name, config, streaming))
        if self.error:
            raise self.error
        return {
            split: datasets.IterableDataset.from_generator(self._rows, gen_kwargs={"rows": rows})
            for split, rows in self._splits.items()
        }


def rows(*documents: str) -> list[dict[str, Any]]:
    return [{"text": document} for document in documents]


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("hub:imdb", ("imdb", None, True)),
        ("hub:stas/c4-en-10k", ("stas/c4-en-10k", None, True)),
        ("hub:allenai/c4/en", ("allenai/c4", "en", True)),
    ],
)
def test_a_hub_source_names_the_data_set_and_its_config(
    monkeypatch: pytest.MonkeyPatch, source: str, call: tuple[Any, ...]
) -> None:
    hub = Hub(monkeypatch, train=rows("a", "", "b"))
    assert list(read_documents(source)) == ["a", "b"]
    assert hub.calls == [call]


def test_a_hub_source_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, train=rows(*DOCUMENTS))
    assert next(read_documents("hub:stas/c4-en-10k")) == DOCUMENTS[0]
    assert hub.fetched < len(DOCUMENTS)


def test_a_seed_draws_the_order_of_a_hub_source(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, train=rows(*DOCUMENTS))
    first, again, other = (list(read_documents("hub:a/b", seed=seed)) for seed in (0, 0, 1))
    assert sorted(first) == sorted(DOCUMENTS)
    assert first == again
    assert first not in (DOCUMENTS, other)


def test_the_preferred_split_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, train=rows("train"), validation=rows("validation"))
    assert list(read_documents("hub:a/b")) == ["train"]
    assert list(read_documents("hub:a/b", splits=("test", "validation"))) == ["validation"]
    assert list(read_documents("hub:a/b", splits=("test",))) == ["train"]


@pytest.mark.parametrize("source", ["hub:", "hub:a//b", "hub:a/b/", "hub:a/b/c/d"])
def test_a_malformed_hub_source_is_refused(source: str) -> None:
    with pytest.raises(InputError, match="is not hub:NAME"):
        check_source(source)


@pytest.mark.parametrize(
    "error",
    [
        datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub or cannot be accessed."),
        datasets.exceptions.DataFilesNotFoundError("No (supported) data files found in a/b"),
        ValueError("BuilderConfig 'x' not found. Available: ['en']"),
        RuntimeError("Dataset scripts are no longer supported, but found b.py"),
    ],
)
def test_a_data_set_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    Hub(monkeypatch).error = error
    with pytest.raises(InputError, match="hub:a/b"):
        next(read_documents("hub:a/b"))


@pytest.mark.parametrize("error", [ConnectionError("Couldn't reach the hub"), TimeoutError("timed out")])
def test_a_hub_that_cannot_be_reached_is_worth_another_try(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    Hub(monkeypatch).error = error
    with pytest.raises(type(error)):
        next(read_documents("hub:a/b"))


def test_a_data_set_without_the_column_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, train=[{"content": "words"}])
    with pytest.raises(InputError, match="no column 'text', only content"):
        next(read_documents("hub:a/b"))


def test_the_check_does_not_ask_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch)
    check_source("hub:allenai/c4/en")
    assert hub.calls == []
