"""The texts of the evidence page as files: from the folder ``shared``, else from the Hugging Face Hub.

``shared`` is OPTISHEAR_SHARED, or the folder of that name beside the checkout. Its ``data`` holds excerpts of public
data sets. Without it, the same data sets are downloaded once and written to the folder for the results. WikiText-2,
GSM8K and MMLU are then the same data. The documents of C4 are others, so figures that depend on C4 differ.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from optishear.errors import InputError, first_line
from optishear.files import write_text

SHARED = "../shared"
# As many and as long as the excerpts of ``shared``.
_C4_DOCUMENTS = 1480
_C4_CHARACTERS = 1200
_WIKITEXT_SPLITS = {"valid": "validation", "test": "test"}


def shared_folder() -> Path | None:
    """The folder with the texts; ``None`` where there is none.

    Raises:
        InputError: if OPTISHEAR_SHARED is set, and not to such a folder.
    """
    named = os.environ.get("OPTISHEAR_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if (folder / "data").is_dir():
        return folder
    if named:
        raise InputError(
            f"OPTISHEAR_SHARED is {named!r}, which has no folder 'data'; set it to one that has, or unset it."
        )
    return None


def c4_file(folder: Path) -> Path:
    """Excerpts of C4 (English), one document a line."""
    shared = shared_folder()
    if shared is not None:
        return shared / "data" / "calibration" / "c4_sample.jsonl"
    texts = (row["text"][:_C4_CHARACTERS] for row in _hub_rows("allenai/c4", "en", "train", _C4_DOCUMENTS))
    return _downloaded(folder / "c4.jsonl", lambda: _jsonl(texts))


def wikitext_file(folder: Path, split: str = "test") -> Path:
    """WikiText-2's text (``valid`` or ``test``) as the papers join it: the hub's rows with a blank line between."""
    path = folder / f"wikitext-2-{split}.txt"
    shared = shared_folder()
    if shared is None:
        rows = _hub_rows("Salesforce/wikitext", "wikitext-2-raw-v1", _WIKITEXT_SPLITS[split])
        return _downloaded(path, lambda: _joined(row["text"] for row in rows))
    lines = (shared / "data" / "wikitext2" / f"wiki.{split}.raw").read_text(encoding="utf-8").split("\n")
    # The hub has an empty row for a blank line.
    write_text(path, _joined(f"{line}\n" if line.strip() else "" for line in lines[:-1]))
    return path


def gsm8k_file(folder: Path) -> Path:
    """GSM8K's training questions with their answers, one document each."""
    path = folder / "gsm8k.jsonl"
    shared = shared_folder()
    if shared is None:
        return _downloaded(path, lambda: _gsm8k(_hub_rows("openai/gsm8k", "main", "train")))
    files = sorted((shared / "data" / "gsm8k").glob("train_*.jsonl"))
    lines = (line for file in files for line in file.read_text(encoding="utf-8").splitlines())
    write_text(path, _gsm8k(json.loads(line) for line in lines))
    return path


def mmlu_file(folder: Path) -> Path:
    """MMLU's development and test questions with the right answers, one document each."""
    path = folder / "mmlu.jsonl"
    shared = shared_folder()
    if shared is None:
        return _downloaded(path, lambda: _jsonl(_hub_mmlu()))
    write_text(path, _jsonl(_shared_mmlu(shared / "data" / "mmlu")))
    return path


def _joined(rows: Iterable[str]) -> str:
    return "\n\n".join(rows)


def _jsonl(texts: Iterable[str]) -> str:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def _gsm8k(rows: Iterable[dict[str, Any]]) -> str:
    return _jsonl(f"Question: {row['question']}\nAnswer: {row['answer']}" for row in rows)


def _shared_mmlu(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*.csv")):
        with file.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                yield f"{row['question']}\nAnswer: {row['choice' + row['answer']]}"


def _hub_mmlu() -> Iterator[str]:
    for split in ("dev", "test"):
        rows = sorted(_hub_rows("cais/mmlu", "all", split), key=lambda row: row["subject"])
        for row in rows:
            yield f"{row['question']}\nAnswer: {row['choices'][row['answer']]}"


def _downloaded(path: Path, content: Callable[[], str]) -> Path:
    """The file, written by ``content()`` unless an earlier run did."""
    if not path.exists():
        print(f"{path.name}: there is no {SHARED}; downloading it from the Hugging Face Hub", flush=True)
        write_text(path, content())
    return path


def _hub_rows(name: str, config: str, split: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The first rows of a data set's split, all without a limit.

    Raises:
        InputError: if the hub does not give them.
    """
    # Slow to import, and not needed beside ``shared``.
    import datasets

    try:
        yield from islice(datasets.load_dataset(name, config, split=split, streaming=True), limit)
    except Exception as error:  # the transport's errors share no base class across versions of the hub library
        raise InputError(
            f"The data set {name} ({config}, {split}) cannot be downloaded ({first_line(error)}); get online, or set "
            "OPTISHEAR_SHARED to a folder that has its text."
        ) from error
