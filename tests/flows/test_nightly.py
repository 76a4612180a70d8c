"""A night in one process: every pipeline is run, whatever happens to another."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.tracking import MlflowClient
from prefect.client.orchestration import get_client

from flows.command_line.main import main
from flows.nightly import nightly
from flows.parameters.nightly import NightlyParameters
from tasks.engine.deployments import UnfinishedRunError

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def defaults(model_folder: Path, text_file: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "model": str(model_folder),
        "calibration": str(text_file),
        "evaluation_text": str(text_file),
        "sequences": 2,
        "sequence_length": 32,
        "search_sequences": 2,
        "rounds": 1,
        "trials": 8,
        "masks_only": True,
        "population": 4,
        "window_length": 64,
        "windows": 2,
        "output": str(tmp_path / "night"),
    }


def write_plan(folder: Path, defaults: dict[str, Any], runs: list[dict[str, Any]]) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({"defaults": defaults, "runs": runs}))
    return path


def test_the_others_run_when_one_fails(defaults: dict[str, Any], tmp_path: Path, home: Path) -> None:
    runs = [{"model": str(tmp_path / "gone.gguf")}, {"sparsity": "2:4"}]
    plan = write_plan(tmp_path, defaults, runs)
    with pytest.raises(UnfinishedRunError) as caught:
        nightly(NightlyParameters(plan=plan))
    assert str(caught.value).startswith("1 of 2 runs failed: gone.gguf · 50 %: ")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "night" / "tiny-llama-2-4" / "report.html").is_file()
    assert not (tmp_path / "night" / "gone.gguf-0.5").exists()
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs()
    (night,) = [run for run in found if "night" in " ".join(run.tags) and len(run.name.split(" · ")) == 2]
    page = (home / "nights" / str(night.id) / "night.html").read_text()
    assert page.index("gone.gguf") < page.index("tiny-llama")
    with get_client(sync_client=True) as client:
        (shown,) = [each for each in client.read_artifacts() if each.flow_run_id == night.id and each.key == "night"]
    assert str(shown.data).index("gone.gguf") < str(shown.data).index("| tiny-llama · 2:4 |")
    tracking = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (experiment,) = [each for each in tracking.search_experiments() if each.name == "optishear"]
    by_name = {run.info.run_name: run for run in tracking.search_runs([experiment.experiment_id])}
    tracked = by_name[night.name]
    assert tracked.info.status == "FAILED"
    assert tracked.data.metrics == {"runs": 2, "failed": 1, "champions": 1}
    assert [file.path for file in tracking.list_artifacts(tracked.info.run_id)] == ["night.html"]
    of_pipeline = by_name["pipeline tiny-llama 2:4"].data
    assert (of_pipeline.tags["model"], of_pipeline.tags["promoted"]) == ("tiny-llama", "yes")
    assert of_pipeline.metrics["pruned/ratio_to_dense"] > 0
    plan, date = night.name.split(" · ")
    assert (plan, night.tags) == ("plan", [f"night {date}"])
    pipelines = {run.name: set(run.tags) for run in found if run.name.startswith(f"{night.name} · ")}
    assert pipelines == {
        f"{night.name} · gone.gguf · 50 %": {*night.tags, "gone.gguf", "50 %"},
        f"{night.name} · tiny-llama · 2:4": {*night.tags, "tiny-llama", "2:4"},
    }


def test_a_bad_plan_stops_before_anything_starts(
    defaults: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = write_plan(tmp_path, defaults, [{}, {"sparsity": "7:4"}])
    with pytest.raises(SystemExit) as caught:
        main(["nightly", "--plan", str(plan)])
    assert caught.value.code == 2
    assert "Error: In run 2 of" in capsys.readouterr().err
    assert not (tmp_path / "night").exists()
