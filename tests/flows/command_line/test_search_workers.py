"""The command ``search`` with workers, end to end on a tiny random Llama."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.command_line.main import main
from optishear.extras import is_installed
from optishear.recipes.recipe import Recipe

pytestmark = [
    pytest.mark.servers,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.skipif(not is_installed("ray"), reason="Ray is not installed (the extra workers)"),
]


def search(model: Path, text: Path, output: Path, workers: int) -> Recipe:
    main(
        ["search", "--model", str(model), "--calibration", str(text), "--sparsity", "0.5", "--sequences", "8",
         "--sequence-length", "32", "--search-sequences", "2", "--rounds", "2", "--trials", "12", "--population", "4",
         "--device", "cpu", "--workers", str(workers), "--output", str(output)]
    )  # fmt: skip
    return Recipe.load(output / "recipe.yaml")


def test_a_search_with_two_workers_writes_what_one_without_writes(
    model_folder: Path,
    text_file: Path,
    tmp_path: Path,
    new_mlflow_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shared = search(model_folder, text_file, tmp_path / "shared", workers=2)
    assert "cpu, cpu" in capsys.readouterr().err
    # In a home folder of its own, or it would take the recipe of the first search.
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(new_mlflow_database, other / "mlflow.db")
    monkeypatch.setenv("OPTISHEAR_HOME", str(other))
    alone = search(model_folder, text_file, tmp_path / "alone", workers=0)
    assert "cpu, cpu" not in capsys.readouterr().err
    assert shared == alone
    trials = [pq.read_table(tmp_path / name / "trials.parquet").drop_columns("seconds") for name in ("shared", "alone")]
    assert trials[0] == trials[1]
    assert trials[0].num_rows >= 12
