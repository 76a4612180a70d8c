"""A sweep: every sparsity is what ``run`` makes, the shared parts are made once, and a failure loses no other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from flows.command_line.main import main
from flows.shared.output_record import RECORD
from tasks.engine.stage import Stage
from tasks.stages.search import search_stage

pytestmark = [pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def command(model_folder: Path, text_file: Path, tmp_path: Path) -> Callable[..., None]:
    def run(name: str, output: str, *flags: str) -> None:
        small = {
            "--model": str(model_folder), "--calibration": str(text_file), "--evaluation-text": str(text_file),
            "--sequences": "4", "--sequence-length": "32", "--search-sequences": "2", "--rounds": "1",
            "--trials": "12", "--population": "4", "--window-length": "64", "--windows": "4", "--device": "cpu",
            "--output": str(tmp_path / output),
        }  # fmt: skip
        main([name, *(word for pair in small.items() for word in pair), "--masks-only", *flags])

    return run


def made(home: Path, stage: str) -> int:
    return len(list((home / "artifacts" / stage).glob("[!.]*")))


def test_a_sweep_shares_and_its_cells_are_runs(
    command: Callable[..., None], home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("sweep", "swept", "--sparsities", "0.4,2:4")
    swept = tmp_path / "swept"
    names = {RECORD, "0.4", "2of4", "metrics.json", "sweep.html", "sweep.parquet", "sweep.png"}
    assert {path.name for path in swept.iterdir()} == names
    assert (made(home, "calibrate"), made(home, "statistics"), made(home, "search")) == (1, 1, 2)
    # Dense once, Wanda and pruned at each sparsity.
    assert made(home, "evaluate") == 5
    assert len(list((home / "journals").iterdir())) == 1
    table = pq.read_table(swept / "sweep.parquet")
    assert set(zip(table["sparsity"].to_pylist(), table["model"].to_pylist(), strict=True)) == {
        (sparsity, model) for sparsity in ("0.4", "2:4") for model in ("dense", "wanda", "pruned")
    }
    metrics = json.loads((swept / "metrics.json").read_text())
    assert metrics["failures"] == {}
    assert metrics["sparsities"]["2:4"]["pruned"]["sparsity"] == 0.5
    assert (swept / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert "optishear sweep" in (swept / "sweep.html").read_text()
    assert "The searched recipe is" in capsys.readouterr().out

    # Its report does not change with what a repeated sweep finds in the store.
    command("sweep", "swept", "--sparsities", "0.4,2:4")
    assert made(home, "sweep-report") == 1

    # A cell is what `run` makes: nothing is left to compute.
    command("run", "alone", "--sparsity", "2:4")
    stages = json.loads((tmp_path / "alone" / "metrics.json").read_text())["stages"]
    assert all(cost["cached"] for cost in stages.values())
    alone, cell = (tmp_path / "alone" / "recipe.yaml", swept / "2of4" / "recipe.yaml")
    assert alone.read_bytes() == cell.read_bytes()

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("optishear").experiment_id
    flows = [run for run in client.search_runs([experiment]) if "mlflow.parentRunId" not in run.data.tags]
    (run,) = [run for run in flows if run.info.run_name.startswith("sweep")]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["2:4/pruned/perplexity"] == metrics["sparsities"]["2:4"]["pruned"]["perplexity"]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "figures")] == ["figures/sweep.png"]


def test_a_sparsity_that_fails_loses_no_other_and_is_made_again_alone(
    command: Callable[..., None],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    search = Stage.make

    def failing(stage: Any, parameters: Any, *rest: Any) -> Any:
        if stage.name == search_stage.name and str(parameters.sparsity) == "0.4":
            raise ValueError("the disk is full")
        return search(stage, parameters, *rest)

    monkeypatch.setattr(Stage, "make", failing)
    with pytest.raises(SystemExit) as caught:
        command("sweep", "swept", "--sparsities", "0.4,2:4")
    assert caught.value.code == 1
    assert "the first 0.4 (the disk is full)" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "swept" / "metrics.json").read_text())
    assert metrics["failures"] == {"0.4": "the disk is full"}
    assert list(metrics["sparsities"]) == ["2:4"]
    assert "failed (the disk is full)" in (tmp_path / "swept" / "sweep.html").read_text()

    monkeypatch.setattr(Stage, "make", search)
    command("sweep", "swept", "--sparsities", "0.4,2:4")
    again = json.loads((tmp_path / "swept" / "metrics.json").read_text())
    assert again["failures"] == {}
    assert all(cost["cached"] for cost in again["sparsities"]["2:4"]["stages"].values())
    assert not again["sparsities"]["0.4"]["stages"]["search"]["cached"]


def test_a_bad_sparsity_is_one_sentence(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    for given, words in (("0.5,1.5", "The sparsity '1.5'"), ("2:5", "The pattern 2:5 does not divide")):
        with pytest.raises(SystemExit) as caught:
            command("sweep", "swept", "--sparsities", given)
        assert caught.value.code == 2
        assert words in capsys.readouterr().err
