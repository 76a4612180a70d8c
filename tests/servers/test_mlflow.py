"""A tracking server as a process: runs that are continued, a champion that moves, a server that goes away."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from flows.parameters.pipeline import PipelineParameters
from optishear.models.precision import given_precision
from servers.processes import MlflowServer
from wording import numbers_in

PRECISION = given_precision("float32")


pytestmark = pytest.mark.servers

TEXT = "the rest of this heat is on that other hand, and it has no end. "


@pytest.fixture
def settings(
    mlflow_server: MlflowServer, model_folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> dict[str, Any]:
    """Parameters of a pipeline that takes seconds."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 80)
    return {
        "model": str(model_folder),
        "calibration": str(text),
        "evaluation_text": str(text),
        "sequences": 4,
        "sequence_length": 32,
        "masks_only": True,
        "search_sequences": 2,
        "rounds": 1,
        "trials": 20,
        "population": 4,
        "metric_scope": "model",
        "window_length": 64,
        "windows": 2,
        "device": "cpu",
        "tracking_uri": mlflow_server.url,
        "experiment": request.node.name,
        "registered_model": request.node.name,
    }


@pytest.fixture
def client(mlflow_server: MlflowServer) -> MlflowClient:
    return MlflowClient(tracking_uri=mlflow_server.url)


def all_runs(client: MlflowClient, experiment: str) -> tuple[list[Run], list[Run]]:
    """The flows' and the stages'."""
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = list(client.search_runs([found.experiment_id]))
    stages = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in stages], stages


def histories(client: MlflowClient, runs: list[Run]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Every value of every metric, by run and name."""
    return {
        (run.info.run_id, name): [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)]
        for run in runs
        for name in run.data.metrics
    }


@pytest.fixture
def night(settings: dict[str, Any], tmp_path: Path, prefect_server: None) -> Callable[..., dict[str, Any]]:
    """Runs the pipeline from the command line; gives its metrics.json."""
    from flows.command_line.main import main

    def run(**changes: Any) -> dict[str, Any]:
        config = tmp_path / "config.yaml"
        output = tmp_path / "output"
        config.write_text(yaml.safe_dump({**settings, **changes}))
        main(["run", "--config", str(config), "--output", str(output)])
        metrics: dict[str, Any] = json.loads((output / "metrics.json").read_text())
        return metrics

    return run


def test_a_repeated_pipeline_continues_its_runs_and_its_version(
    night: Callable[..., dict[str, Any]],
    settings: dict[str, Any],
    client: MlflowClient,
    mlflow_server: MlflowServer,
    home: Path,
) -> None:
    first = night()
    before = histories(client, [run for runs in all_runs(client, settings["experiment"]) for run in runs])
    assert night()["registered"] == first["registered"]
    flows, stages = all_runs(client, settings["experiment"])
    (flow,) = flows
    names = [run.info.run_name for run in stages]
    assert len(names) == len(set(names))
    assert {"calibrate", "statistics", "search", "prune", "report"} <= set(names)
    assert {"evaluate dense", "evaluate wanda", "evaluate pruned"} <= set(names)
    assert {run.data.tags["mlflow.parentRunId"] for run in stages} == {flow.info.run_id}
    assert {run.info.status for run in [flow, *stages]} == {"FINISHED"}
    after = histories(client, [flow, *stages])
    assert after == before
    for points in after.values():
        assert len({step for step, _ in points}) == len(points)
    assert any(name.startswith("best/kl/") for _, name in after)
    assert [each.tags[0].value for each in flow.inputs.dataset_inputs] == ["calibration", "evaluation"]

    # Referenced: the server has none of the weights, and the reference is a copy of what the stage wrote.
    name = f"{settings['registered_model']}-0.5"
    (version,) = client.search_model_versions(f"name = '{name}'")
    assert client.get_model_version_by_alias(name, "champion").version == version.version
    assert not list(mlflow_server.folder.rglob("*.safetensors"))
    kept = Path(version.tags["checkpoint"].removeprefix("file://"))
    assert kept.is_relative_to(home / "registered")
    (written,) = home.glob("artifacts/prune/prune-*/model/model.safetensors")
    assert (kept / "model.safetensors").read_bytes() == written.read_bytes()
    assert not (kept / "model.safetensors").samefile(written)
    logged = client.get_logged_model(version.tags["logged_model"])
    assert logged.tags["checkpoint"] == version.tags["checkpoint"]


def test_the_champion_moves_only_when_it_should(
    settings: dict[str, Any], client: MlflowClient, model_folder: Path
) -> None:
    from tasks.registration.champion import Challenger
    from tasks.registration.model_versions import Registered, register_version
    from tasks.store import artifacts as store
    from tasks.tracking.flow_runs import tracked_run

    name = settings["registered_model"]

    def night(seed: int, perplexity: float) -> Registered:
        """One night's model, another one for each seed, of a perplexity that is given."""
        parameters = PipelineParameters(**settings, seed=seed, champion_max_perplexity_increase=50)
        request = store.Request("prune", 1, f"prune-{name}-{seed}", {}, {})
        pruned = store.make_once(request, lambda outputs: shutil.copytree(model_folder, outputs / "model") and None)
        with tracked_run("pipeline", parameters, PRECISION) as run:
            challenger = Challenger(perplexity, 20.0, None, "text")
            return register_version(run, name, pruned, challenger, parameters, {"pattern": "unstructured"}, "")

    def champion() -> str | None:
        alias = client.get_registered_model(name).aliases.get("champion")
        return None if alias is None else str(alias)

    assert (night(1, 31.0).champion, champion()) == (False, None)
    assert (night(2, 26.0).champion, champion()) == (True, "2")
    worse = night(3, 27.0)
    assert (worse.champion, champion()) == (False, "2")
    assert night(3, 27.0) == worse
    assert (night(4, 25.0).champion, champion()) == (True, "4")
    versions = {str(each.version): each for each in client.search_model_versions(f"name = '{name}'")}
    assert sorted(versions) == ["1", "2", "3", "4"]
    assert numbers_in(versions["3"].tags["promotion"]) == [27, 26, 2]
    assert "champion_max_perplexity_increase allows 50 %" in versions["1"].tags["promotion"]


# A worker's process: it knows the flow's run from what was handed over, and the stage's by its key.
WORKER = """
import sys
import time

from optishear.searching.journal import Journal

put = Journal.put

def put_slowly(journal, key, measured):
    put(journal, key, measured)
    time.sleep(0.05)

Journal.put = put_slowly

from flows.parameters.pipeline import PipelineParameters
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.search import search_stage
from tasks.tracking.stage_runs import RunReference, joined, stage_run
from tasks.stages.statistics import statistics_stage

parameters = PipelineParameters.model_validate_json(sys.argv[1])
blocks = calibrate_stage.make(parameters)
observed = statistics_stage.make(parameters, blocks)
request = search_stage.request(parameters, blocks, observed)
with joined(RunReference.model_validate_json(sys.argv[2])), stage_run("search", request) as stage:
    stage.finish(search_stage.make(parameters, blocks, observed), {})
"""


def test_a_search_of_another_process_is_killed_and_goes_on_in_its_run(
    settings: dict[str, Any], client: MlflowClient
) -> None:
    from tasks.tracking.flow_runs import tracked_run
    from tasks.tracking.stage_runs import running_reference

    parameters = PipelineParameters(**{**settings, "trials": 120})
    with tracked_run("pipeline", parameters, PRECISION) as flow:
        reference = running_reference()
        assert reference is not None
        command = [sys.executable, "-c", WORKER, parameters.model_dump_json(), reference.model_dump_json()]
        worker = subprocess.Popen(command)

        def points() -> dict[tuple[str, str], list[tuple[int, float]]]:
            _, stages = all_runs(client, settings["experiment"])
            found = histories(client, stages)
            return {key: values for key, values in found.items() if key[1].startswith("best/")}

        deadline = time.monotonic() + 180
        while sum(map(len, points().values())) < 3:
            assert worker.poll() is None, "the search ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        before = points()
        subprocess.run(command, check=True)
    _, stages = all_runs(client, settings["experiment"])
    (stage,) = stages
    assert stage.data.tags["mlflow.parentRunId"] == flow.run_id
    assert stage.info.status == "FINISHED"
    for key, values in points().items():
        known = before.get(key, [])
        assert values[: len(known)] == known
        assert len({step for step, _ in values}) == len(values)
    assert sum(map(len, points().values())) > sum(map(len, before.values()))


def test_a_stage_goes_on_while_the_server_is_away(
    settings: dict[str, Any],
    client: MlflowClient,
    mlflow_server: MlflowServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from tasks.stages.calibrate import calibrate_stage
    from tasks.stages.search import search_stage
    from tasks.stages.statistics import statistics_stage
    from tasks.tracking.flow_runs import tracked_run
    from tasks.tracking.stage_runs import stage_run

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    parameters = PipelineParameters(**settings)
    blocks = calibrate_stage.make(parameters)
    observed = statistics_stage.make(parameters, blocks)
    request = search_stage.request(parameters, blocks, observed)
    with tracked_run("pipeline", parameters, PRECISION), stage_run("search", request) as stage:
        assert stage is not None
        mlflow_server.stop()
        try:
            found = search_stage.make(parameters, blocks, observed)
        finally:
            mlflow_server.start()
        stage.finish(found, {})
    assert "MLflow was not told" in caplog.text
    with tracked_run("pipeline", parameters, PRECISION), stage_run("search", request) as stage:
        assert stage is not None
        stage.finish(search_stage.make(parameters, blocks, observed), {})
    flows, stages = all_runs(client, settings["experiment"])
    assert [run.info.status for run in [*flows, *stages]] == ["FINISHED", "FINISHED"]
    assert stages[0].data.metrics["seconds"] == found.seconds
