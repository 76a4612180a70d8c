"""The page holds what the commands left, as pictures and as data, and nothing of the machine's folders."""

import json
import shutil
from pathlib import Path

import pyarrow.csv
import pytest
from evidence_page import write_evidence
from evidence_record import OUTPUT, RUN

from benchmarks.evidence_samples import HOME, TITLES, finish, make_compared, make_matrix, make_run, make_sweep
from optishear.errors import InputError
from report.samples import make_trials

PRIVATE = {HOME: "../shared"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``work`` and the ``docs`` over it."""
    folder = tmp_path_factory.mktemp("evidence")
    work = folder / "work"
    make_sweep(work / "sweep")
    finish(work / "sweep", "The searched recipe is better than Wanda at every sparsity.\n\n| a | b |\n| --- | --- |")
    make_run(work / "paper", "0.5")
    finish(work / "paper", "| measure | dense |\n| --- | --- |")
    make_matrix(work / "transplant")
    finish(work / "transplant", "What the ratios bring | in a sentence.\nA remark.")
    make_compared(work / "compare")
    assert write_evidence(folder / "docs", TITLES, work, PRIVATE) == ["sweep", "paper", "transplant"]
    return folder


@pytest.fixture
def docs(written: Path, tmp_path: Path) -> Path:
    """The docs, to be changed."""
    return Path(shutil.copytree(written / "docs", tmp_path / "docs"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """No results yet."""
    return tmp_path / "work"


def pictures(page: str) -> list[str]:
    return [line.rpartition("](")[2].rstrip(")") for line in page.splitlines() if line.startswith("![")]


def test_only_finished_sections_are_in_the_page(docs: Path) -> None:
    page = (docs / "evidence.md").read_text()
    _, heading, rest = page.partition("\n## Several sparsities\n")
    assert heading
    assert rest.index("better than Wanda at every") < rest.index("### 50") < rest.index("### 70")
    assert rest.index("### 70") < rest.index("2026-01-02, a machine; some software; 1\N{NO-BREAK SPACE}min 15")
    assert "## Search algorithms" not in page


def test_wording_of_the_first_table_which_has_what_each_section_says(docs: Path) -> None:
    page = (docs / "evidence.md").read_text()
    table = [line for line in page.partition("\n## ")[0].splitlines() if line.startswith("| [")]
    assert table[0] == (
        "| [Several sparsities](#several-sparsities) | The searched recipe is better than Wanda at every sparsity. |"
    )
    assert table[1].startswith(
        "| [The papers' tasks](#the-papers-tasks) | 50\N{NO-BREAK SPACE}% pruned: perplexity 44.1"
    )
    assert table[2].endswith("metrics) | What the ratios bring \\| in a sentence. |")
    assert len(table) == 3


def test_every_picture_of_the_page_is_there_with_its_words(docs: Path) -> None:
    page = (docs / "evidence.md").read_text()
    shown = pictures(page)
    assert len(shown) == 3 * 7 + 1 + 2
    assert "evidence/sweep/sweep.svg" in shown
    for picture in shown:
        assert "prefers-color-scheme: dark" in (docs / picture).read_text()
    lines = page.splitlines()
    for index, line in enumerate(lines):
        if line.startswith("!["):
            title = line[2:].partition("](")[0]
            assert lines[index - 2].startswith(f"**{title}.** ")
            assert len(lines[index - 2]) > len(f"**{title}.** ")
    assert any(line.startswith("**What transplant says.**") for line in lines)
    assert not list(docs.rglob("*.png"))


def test_pictures_of_a_section_are_beside_its_own_text(docs: Path) -> None:
    for section in ("sweep", "transplant"):
        folder = docs / "evidence" / section
        shown = pictures((folder / "section.md").read_text())
        assert shown
        assert all((folder / picture).exists() for picture in shown)


def test_compared_algorithms_are_drawn(docs: Path, work: Path) -> None:
    make_compared(work / "compare")
    finish(work / "compare", "After 100 trials nsga3 has the lowest KL divergence.")
    write_evidence(docs, TITLES, work, PRIVATE)
    page = (docs / "evidence.md").read_text()
    assert "evidence/compare/algorithms.svg" in pictures(page)
    assert "the median over the seeds" in page
    assert "nsga3" in (docs / "evidence" / "compare" / "algorithms.svg").read_text()
    assert set(pyarrow.csv.read_csv(docs / "evidence" / "compare" / "algorithms.csv")["seed"].to_pylist()) == {0, 1}


def test_numbers_are_kept_and_folders_of_the_machine_are_not(docs: Path) -> None:
    data = docs / "evidence" / "sweep" / "0.5"
    trials = pyarrow.csv.read_csv(data / "trials.csv")
    assert trials.num_rows == make_trials().num_rows
    assert "sparsity_ratios" not in trials.column_names
    assert pyarrow.csv.read_csv(data / "diagnosis" / "alignment.csv").num_rows == 2 * 210
    assert (data / "recipe.yaml").exists()
    assert not (data / "model").exists()
    metrics = json.loads((data / "metrics.json").read_text())
    assert metrics["calibration"] == "../shared/c4.jsonl"
    assert "cached" not in metrics["stages"]["search"]
    assert "registered" not in metrics
    for file in docs.rglob("*"):
        assert file.is_dir() or "/home/me" not in file.read_text()


def test_a_record_without_a_digest_is_read(docs: Path, work: Path) -> None:
    make_compared(work / "compare")
    finish(work / "compare", "Words.")
    run = json.loads((work / "compare" / RUN).read_text())
    old = {key: run[key] for key in ("command", "date", "seconds", "machine", "software")}
    (work / "compare" / RUN).write_text(json.dumps(old))
    assert "compare" in write_evidence(docs, TITLES, work, PRIVATE)
    kept = json.loads((docs / "evidence" / "compare" / RUN).read_text())
    assert kept["date"] == "2026-01-02"
    assert len(kept["results"]) == 64


def test_a_section_without_results_stays_as_it_was(docs: Path, work: Path) -> None:
    before = (docs / "evidence.md").read_text()
    numbers = {file: file.read_bytes() for file in docs.rglob("*") if file.is_file()}
    assert write_evidence(docs, TITLES, work, PRIVATE) == ["sweep", "paper", "transplant"]
    assert (docs / "evidence.md").read_text() == before
    assert {file: file.read_bytes() for file in docs.rglob("*") if file.is_file()} == numbers

    make_sweep(work / "sweep", ("0.6",))
    finish(work / "sweep", "A new sentence.")
    assert write_evidence(docs, TITLES, work, PRIVATE) == ["sweep", "paper", "transplant"]
    page = (docs / "evidence.md").read_text()
    assert "A new sentence." in page
    assert "better than Wanda at every" not in page
    assert page.partition("## The papers' tasks")[2] == before.partition("## The papers' tasks")[2]
    assert not (docs / "evidence" / "sweep" / "0.5").exists()


def test_a_page_of_nothing_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no section has results in"):
        write_evidence(tmp_path / "docs", TITLES, tmp_path / "work", PRIVATE)
    assert not (tmp_path / "docs").exists()


def test_an_incomplete_section_says_so_and_shows_what_is_there(docs: Path, work: Path) -> None:
    make_matrix(work / "transplant")
    finish(work / "transplant", "Of an earlier run.")
    finish(work / "transplant", "", incomplete=True)
    assert not (work / "transplant" / OUTPUT).exists()
    write_evidence(docs, TITLES, work, PRIVATE)
    page = (docs / "evidence.md").read_text()
    assert page.count("**Incomplete:**") == 2
    assert "What the ratios bring" not in page
    assert "Of an earlier run" not in page
    assert "evidence/transplant/transplant.svg" in pictures(page)
