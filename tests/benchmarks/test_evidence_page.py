"""The page holds what the commands left, as pictures and as data, and nothing of the machine's folders."""

import json
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from benchmarks.evidence_page import RUN, SAID, write_evidence
from optishear.report.export import png
from optishear.report.ratios import layer_ratios
from report.samples import make_diagnosis, make_metrics, make_recipe, make_trials


def make_run(folder: Path, sparsity: str) -> None:
    folder.mkdir(parents=True)
    make_recipe(sparsity).save(folder / "recipe.yaml")
    metrics = {**make_metrics(), "calibration": "/home/me/shared/c4.jsonl"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    pq.write_table(make_trials(), folder / "trials.parquet")
    (folder / "diagnosis").mkdir()
    make_diagnosis().save(folder / "diagnosis")
    (folder / "model").mkdir()
    (folder / "model" / "recipe.yaml").write_text("the checkpoint's own")


def finish(folder: Path, said: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SAID).write_text(said + "\n")
    run = {
        "command": ["optishear", "sweep", "--calibration", "/home/me/shared/c4.jsonl"],
        "date": "2026-01-02", "seconds": 75, "machine": "a machine", "software": "some software",
    }  # fmt: skip
    (folder / RUN).write_text(json.dumps(run))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    for sparsity in ("0.5", "0.7"):
        make_run(work / "sweep" / sparsity, sparsity)
    finish(work / "sweep", "The searched recipe is better than Wanda at every sparsity.")
    make_run(work / "paper", "0.5")
    finish(work / "transplant", "What the ratios bring.")
    (work / "transplant" / "transplant.png").write_bytes(png(layer_ratios(make_recipe())))
    folders = {name: work / name for name in ("sweep", "paper", "transplant", "compare")}
    docs = tmp_path / "docs"
    assert write_evidence(docs, folders, {"/home/me/shared": "../shared"}) == ["sweep", "transplant"]
    return docs


def test_only_finished_sections_are_in_the_page(docs: Path) -> None:
    page = (docs / "evidence.md").read_text()
    assert page.index("## At every sparsity") < page.index("better than Wanda at every") < page.index("### 50")
    assert page.index("### 70") < page.index("2026-01-02, a machine; some software; 1\N{NO-BREAK SPACE}min 15")
    assert "## The searched layer ratios with other metrics" in page
    assert "tasks" not in "".join(line for line in page.splitlines() if line.startswith("##"))


def test_every_picture_of_the_page_is_there(docs: Path) -> None:
    page = (docs / "evidence.md").read_text()
    pictures = [line.rpartition("](")[2].rstrip(")") for line in page.splitlines() if line.startswith("![")]
    assert len(pictures) == 2 * 7 + 1
    assert all((docs / picture).stat().st_size > 500 for picture in pictures)


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
    for file in docs.rglob("*"):
        assert file.is_dir() or file.suffix == ".png" or "/home/me" not in file.read_text()


def test_writing_again_replaces_the_data(docs: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert write_evidence(docs, {"transplant": work / "transplant"}, {}) == ["transplant"]
    assert [path.name for path in (docs / "evidence").iterdir()] == ["transplant"]
