"""Source → documents: where calibration and evaluation text is read from."""

import os
import platform
import random
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from optishear.calibration.hub import received, stream_data_set
from optishear.errors import InputError, first_line
from optishear.home import expand_home
from optishear.json_file import parse_json
from optishear.models.digest import digest_of_file

PYTHON_DOCS = "python-docs"
HUB = "hub:"
# Of an owner and of a data set: neither has a space, and neither is "..".
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}", re.A)
# A shuffle holds this many documents: an exact one for most files, and bounded memory for the rest.
_FILE_BUFFER = 10_000
# The buffer of a stream is fetched before its first document is given.
_STREAM_BUFFER = 1_000


def read_documents(source: str, *, seed: int | None = None, splits: tuple[str, ...] = ("train",)) -> Iterator[str]:
    """The non-empty documents of a source, read lazily.

    Args:
        source: ``hub:NAME[/CONFIG]``, a data set of the hub, streamed, with the text in the column ``text``
            (``hub:allenai/c4/en``); a ``.txt`` file, which is one document; a ``.jsonl`` or ``.parquet`` file
            with a column ``text``; or ``python-docs``, the prose topics of the standard library's help, which
            differ between Python versions.
        seed: take the documents in an order drawn with this seed (from a bounded buffer); in the source's own
            order where not given.
        splits: for the hub, the splits to prefer, best first; a data set with none of them gives its first.

    Raises:
        InputError: at the latest at the first document, if the source is unknown, missing, empty or has no text, or is
            on the hub and that cannot be reached.
        HubError: if the hub can be reached but stops answering; worth another try.
    """
    if source.startswith(HUB):
        return _hub_documents(source, seed, splits)
    reader = _local_reader(source)
    documents = _non_empty(reader(Path(source)), source)
    return documents if seed is None else shuffled(documents, seed)


def check_source(source: str) -> None:
    """Refuse a source that cannot be read, at the cost of one document; the hub is not asked.

    Raises:
        InputError: naming the source and what is wrong with it.
    """
    if source.startswith(HUB):
        hub_name(source)
    else:
        next(read_documents(source))


def text_digest(source: str) -> str:
    """The content of a text source: a file's bytes; a data set's name; the standard library's version."""
    if Path(source).is_file():
        return digest_of_file(Path(source))
    return f"{PYTHON_DOCS} {platform.python_version()}" if source == PYTHON_DOCS else source


def _local_reader(source: str) -> Callable[[Path], Iterator[Any]]:
    if source == PYTHON_DOCS:
        return _python_docs
    reader = _READERS.get(Path(source).suffix.lower())
    if reader is None:
        raise InputError(
            f"The text {source!r} is of no known kind; give hub:NAME[/CONFIG], {PYTHON_DOCS}, "
            "or a .txt, .jsonl or .parquet file."
        )
    try:
        expand_home(source)
    except ValueError as error:
        raise InputError(f"There is no text file {source[:80]!r}: {error}.") from None
    if not Path(source).is_file() or not os.access(source, os.R_OK):
        raise InputError(f"There is no text file {source!r} that can be read; give one that exists.")
    return reader


def _python_docs(_: Path) -> Iterator[str]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]


def _txt(path: Path) -> Iterator[str]:
    yield path.read_text(encoding="utf-8")


def _jsonl(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    row = parse_json(line)
                except ValueError as error:
                    reason = getattr(error, "msg", None) or first_line(error)
                    raise InputError(f"Line {number} of {str(path)!r} is not JSON ({reason}).") from None
                if not isinstance(row, dict) or "text" not in row:
                    raise InputError(
                        f"Line {number} of {str(path)!r} has no column 'text'; rename the one that has it."
                    )
                yield row["text"]


def _parquet(path: Path) -> Iterator[Any]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:  # Thrift's errors are OSErrors
        raise InputError(f"The file {str(path)!r} is not Parquet ({first_line(error)}).") from None
    if "text" not in file.schema_arrow.names:
        columns = ", ".join(file.schema_arrow.names)
        raise InputError(f"The file {str(path)!r} has no column 'text', only {columns}; rename the one that has it.")
    try:
        for batch in file.iter_batches(batch_size=1024, columns=["text"]):
            yield from batch.column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"The file {str(path)!r} is damaged ({first_line(error)}); download it again.") from None


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {".txt": _txt, ".jsonl": _jsonl, ".parquet": _parquet}


def _non_empty(documents: Iterator[Any], source: str) -> Iterator[str]:
    empty = True
    try:
        for document in documents:
            if document is not None and not isinstance(document, str):
                raise InputError(f"The column 'text' of {source!r} holds {type(document).__name__}, not text.")
            if document and document.strip():
                empty = False
                yield _without_surrogates(document)
    except UnicodeDecodeError:
        raise InputError(f"The file {source!r} is not UTF-8 text; convert it first.") from None
    if empty:
        raise InputError(f"The text {source!r} is empty; give one with words in it.")


def _without_surrogates(document: str) -> str:
    """A document in which half of a character, as JSON may hold of an emoji that was cut, is U+FFFD."""
    try:
        document.encode("utf-8")
    except UnicodeEncodeError:
        return document.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return document


def shuffled(documents: Iterable[str], seed: int) -> Iterator[str]:
    """The documents in an order drawn with a seed, from a bounded buffer."""
    chance = random.Random(seed)
    buffer: list[str] = []
    for document in documents:
        if len(buffer) < _FILE_BUFFER:
            buffer.append(document)
            continue
        place = chance.randrange(_FILE_BUFFER)
        document, buffer[place] = buffer[place], document
        yield document
    chance.shuffle(buffer)
    yield from buffer


def hub_name(source: str) -> tuple[str, str | None]:
    """The data set and its configuration, of ``hub:NAME[/CONFIG]``.

    Raises:
        InputError: if it is not written so.
    """
    parts = source.removeprefix(HUB).split("/")
    config = parts[2] if len(parts) == 3 else None
    if len(parts) > 3 or not all(_HUB_NAME.fullmatch(part) for part in parts[:2]) or not _is_config(config):
        raise InputError(f"The text {source[:100]!r} is not hub:NAME[/CONFIG], such as hub:allenai/c4/en.")
    return "/".join(parts[:2]), config


def _is_config(name: str | None) -> bool:
    return name is None or (name not in ("", ".", "..") and not re.search(r"\s", name))


def _hub_documents(source: str, seed: int | None, splits: tuple[str, ...]) -> Iterator[str]:
    name, config = hub_name(source)
    available = stream_data_set(source, name, config)
    split = next((split for split in splits if split in available), next(iter(available)))
    stream = available[split]
    if seed is not None:
        stream = stream.shuffle(seed=seed, buffer_size=_STREAM_BUFFER)
    yield from _non_empty(_texts(stream, source), source)


def _texts(stream: Any, source: str) -> Iterator[Any]:
    for row in received(stream):
        if "text" not in row:
            raise InputError(f"The data set {source!r} has no column 'text', only {', '.join(row)}; give one that has.")
        yield row["text"]
