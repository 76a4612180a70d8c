"""The texts of the evidence page are the same from the folder `shared` and from the hub."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from texts import c4_file, gsm8k_file, mmlu_file, shared_folder, wikitext_file

from wording import refused

WIKITEXT = " \n = Title = \n \n A sentence . \n \n"
PROBLEMS = [{"question": "1 + 1?", "answer": "2"}, {"question": "2 + 2?", "answer": "#### 4"}]
# Of two subjects, which the hub gives in another order than the files have.
QUESTIONS = {
    "dev": [("biology", "What, a cell?", ["no", "yes"], 1), ("art", "Who?", ["she", "he"], 0)],
    "test": [("art", "When?", ["now", "then"], 1)],
}
HUB = {
    ("allenai/c4", "en", "train"): [{"text": letter * 2000} for letter in "abc"],
    ("Salesforce/wikitext", "wikitext-2-raw-v1", "test"): [
        {"text": text} for text in ("", " = Title = \n", "", " A sentence . \n", "")
    ],
    ("openai/gsm8k", "main", "train"): PROBLEMS,
    **{
        ("cais/mmlu", "all", split): [
            {"subject": subject, "question": question, "choices": choices, "answer": answer}
            for subject, question, choices, answer in rows
        ]
        for split, rows in QUESTIONS.items()
    },
}


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `shared` with all texts."""
    data = tmp_path / "shared" / "data"
    for name in ("calibration", "wikitext2", "gsm8k", "mmlu/dev", "mmlu/test"):
        (data / name).mkdir(parents=True)
    (data / "calibration" / "c4_sample.jsonl").write_text(json.dumps({"text": "of C4"}) + "\n")
    (data / "wikitext2" / "wiki.test.raw").write_text(WIKITEXT)
    for number, row in enumerate(PROBLEMS, start=1):
        (data / "gsm8k" / f"train_part{number}.jsonl").write_text(json.dumps(row) + "\n")
    for split, rows in QUESTIONS.items():
        for subject, question, choices, answer in rows:
            text = f'question,choice0,choice1,answer\n"{question}",{choices[0]},{choices[1]},{answer}\n'
            (data / "mmlu" / split / f"{subject}_{split}.csv").write_text(text)
    monkeypatch.setenv("OPTISHEAR_SHARED", str(data.parent))
    return data.parent


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """No folder `shared`, and a hub that has the data sets; returns what was asked of it."""
    import datasets
    import texts

    asked = []

    def load_dataset(name: str, config: str, *, split: str, streaming: bool) -> Iterator[dict[str, Any]]:
        assert streaming
        asked.append((name, config, split))
        return iter(HUB[name, config, split])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.delenv("OPTISHEAR_SHARED", raising=False)
    monkeypatch.setattr(texts, "__file__", str(tmp_path / "elsewhere" / "checkout" / "benchmarks" / "texts.py"))
    return asked


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_texts_of_the_shared_folder(shared: Path, work: Path) -> None:
    assert c4_file(work) == shared / "data" / "calibration" / "c4_sample.jsonl"
    assert wikitext_file(work).read_text() == "\n\n = Title = \n\n\n\n\n A sentence . \n\n\n"
    assert [json.loads(line)["text"] for line in gsm8k_file(work).read_text().splitlines()] == [
        "Question: 1 + 1?\nAnswer: 2",
        "Question: 2 + 2?\nAnswer: #### 4",
    ]
    assert [json.loads(line)["text"] for line in mmlu_file(work).read_text().splitlines()] == [
        "Who?\nAnswer: she",
        "What, a cell?\nAnswer: yes",
        "When?\nAnswer: then",
    ]


def test_the_hub_gives_the_same(
    shared: Path, hub: list[tuple[str, str, str]], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded = [make(work).read_text() for make in (wikitext_file, gsm8k_file, mmlu_file)]
    assert hub == [key for key in HUB if key[0] != "allenai/c4"]
    monkeypatch.setenv("OPTISHEAR_SHARED", str(shared))
    assert [make(work).read_text() for make in (wikitext_file, gsm8k_file, mmlu_file)] == downloaded


def test_a_download_is_said_and_made_once(
    hub: list[tuple[str, str, str]], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [json.loads(line)["text"] for line in c4_file(work).read_text().splitlines()] == [
        letter * 1200 for letter in "abc"
    ]
    assert capsys.readouterr().out.startswith("c4.jsonl: ")
    c4_file(work)
    assert hub == [("allenai/c4", "en", "train")]
    assert capsys.readouterr().out == ""


def test_a_hub_that_does_not_answer_leaves_no_file(
    hub: list[tuple[str, str, str]], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def load_dataset(*_: str, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with refused("openai/gsm8k", "no route to host"):
        gsm8k_file(work)
    assert list(work.iterdir()) == []


def test_a_shared_folder_that_is_named_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTISHEAR_SHARED", str(tmp_path))
    with refused("OPTISHEAR_SHARED", tmp_path, "data"):
        shared_folder()
