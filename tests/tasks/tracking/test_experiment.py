"""A run that is repeated finds itself again in MLflow, and logs nothing twice."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from flows.parameters.cross_model import CrossModelParameters
from flows.parameters.pipeline import PipelineParameters
from optishear.models.precision import given_precision
from optishear.named_source import NamedSource
from optishear.parameters.model import ModelParameters
from optishear.units import parse_duration
from tasks.tracking.experiment import connect, public_uri, run_key, run_tags, tracking_uri
from tasks.tracking.flow_runs import FAILURE_TAG, tracked_run
from tasks.tracking.mlflow_run import TrackedRun
from tasks.tracking.parameters import TrackingParameters
from tasks.tracking.runs_view import VIEW_TAG
from wording import refused

PRECISION = given_precision("float32")


def test_a_repeated_run_is_one_run(tracked_parameters: PipelineParameters, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    for seconds in (12.5, 12.5):
        report.write_text("page")
        with tracked_run("pipeline", tracked_parameters, PRECISION) as run:
            run.log_parameters({"sparsity": "0.5", "tasks": ["boolq"], "limit": None})
            run.log_metrics({"seconds/search": seconds, "pruned/acc,none": 0.5, "missing": None})
            run.log_file(report)
    client = run.client
    (only,) = client.search_runs([run.tracking.experiment_id])
    assert only.info.status == "FINISHED"
    assert only.data.tags["precision"] == "float32 (as given)"
    assert only.info.run_name == "pipeline model 0.5"
    assert only.data.params == {"sparsity": "0.5", "tasks": "['boolq']", "working_dtype": "float32"}
    assert only.data.metrics == {"seconds/search": 12.5, "pruned/acc_none": 0.5}
    assert len(client.get_metric_history(only.info.run_id, "seconds/search")) == 1
    assert [file.path for file in client.list_artifacts(only.info.run_id)] == ["report.html"]


def test_another_value_of_a_param_keeps_the_first(tracked_parameters: PipelineParameters) -> None:
    for batch_size in (8, 4):
        with tracked_run("pipeline", tracked_parameters, PRECISION) as run:
            run.log_parameters({"batch_size": batch_size})
    assert run.read().data.params["batch_size"] == "8"


def test_a_changed_value_is_another_step(tracked_parameters: PipelineParameters) -> None:
    for seconds in (12.5, 12.5, 13.0, 13.0, 12.5):
        with tracked_run("pipeline", tracked_parameters, PRECISION) as run:
            run.log_metrics({"seconds": seconds, "broken": float("inf")})
    history = run.client.get_metric_history(run.run_id, "seconds")
    assert [(each.step, each.value) for each in history] == [(0, 12.5), (1, 13.0), (2, 12.5)]
    assert "broken" not in run.read().data.metrics


def test_points_are_logged_once_for_each_step(tracked_parameters: PipelineParameters) -> None:
    with tracked_run("search", tracked_parameters, PRECISION) as run:
        run.log_points([("best,kl", 8, 0.5), ("best,kl", 16, 0.4)])
        run.log_points([("best,kl", 8, 0.5), ("best,kl", 16, 0.4), ("best,kl", 24, 0.3), ("best,kl", 24, 0.3)])
    history = run.client.get_metric_history(run.run_id, "best_kl")
    assert [(each.step, each.value) for each in history] == [(8, 0.5), (16, 0.4), (24, 0.3)]


def test_a_long_run_reads_the_history_of_a_metric_once(
    tracked_parameters: PipelineParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    steps = TrackedRun.steps

    def read(run: TrackedRun, metric: str) -> set[int]:
        reads.append(metric)
        return steps(run, metric)

    monkeypatch.setattr(TrackedRun, "steps", read)
    with tracked_run("search", tracked_parameters, PRECISION) as run:
        for step in range(12):
            run.log_points([("kl", step, 0.5), ("frobenius", step, 0.1)])
    assert sorted(reads) == ["frobenius", "kl"]
    assert len(run.client.get_metric_history(run.run_id, "kl")) == 12


def test_points_of_a_failed_request_are_logged_by_the_next(
    tracked_parameters: PipelineParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracked_run("search", tracked_parameters, PRECISION) as run:
        run.log_points([("kl", 1, 0.5)])
        with monkeypatch.context() as patch:
            patch.setattr(run.client, "log_batch", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                run.log_points([("kl", 2, 0.4)])
        run.log_points([("kl", 2, 0.4), ("kl", 3, 0.3)])
    assert [each.step for each in run.client.get_metric_history(run.run_id, "kl")] == [1, 2, 3]


def test_a_table_is_replaced(
    tracked_parameters: PipelineParameters, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    table = pa.table({"model": ["dense", "pruned"], "perplexity": [20.5, float("inf")]})
    for _ in range(2):
        with tracked_run("pipeline", tracked_parameters, PRECISION) as run:
            run.log_table(table, "comparison.json")
    loaded = run.client.load_table(run.tracking.experiment_id, "comparison.json", [run.run_id])
    assert loaded.to_dict("list") == {"model": ["dense", "pruned"], "perplexity": [20.5, float("inf")]}


def test_a_failure_is_told_and_forgotten_after_success(tracked_parameters: PipelineParameters) -> None:
    with pytest.raises(RuntimeError), tracked_run("pipeline", tracked_parameters, PRECISION) as run:
        raise RuntimeError("out of disk")
    failed = run.read()
    assert failed.info.status == "FAILED"
    assert failed.data.tags[FAILURE_TAG] == "RuntimeError: out of disk"
    with tracked_run("pipeline", tracked_parameters, PRECISION) as again:
        pass
    assert again.run_id == run.run_id
    finished = run.read()
    assert finished.info.status == "FINISHED"
    assert FAILURE_TAG not in finished.data.tags


def test_a_run_is_known_by_what_it_makes(tracked_parameters: PipelineParameters, model: Path) -> None:
    key = run_key("pipeline", tracked_parameters)
    moved = model.rename(model.with_name("moved"))
    same = tracked_parameters.model_copy(
        update={"model": str(moved), "device": "cpu", "output": Path("x"), "experiment": "e"}
    )
    assert run_key("pipeline", same) == key
    assert run_key("search", same) != key
    assert run_key("pipeline", same.model_copy(update={"dtype": "float32"})) != key
    assert run_key("pipeline", same.model_copy(update={"seed": 1})) != key
    (moved / "model.safetensors").write_bytes(b"others!")
    assert run_key("pipeline", same) != key


def test_a_run_is_known_by_the_content_of_each_source(model: Path, tmp_path: Path) -> None:
    text, other, folder = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "tasks"
    text.write_text("words")
    folder.mkdir()
    (folder / "task.yaml").write_text("task: x")
    other_model = Path(shutil.copytree(model, tmp_path / "other"))
    (other_model / "model.safetensors").write_bytes(b"others!")
    parameters = CrossModelParameters(
        model=str(model),
        other_models=[f"one={other_model}"],
        search_calibrations=[f"more={text}"],
        include_path=folder,
    )
    key = run_key("cross-model", parameters)
    text.rename(other)
    moved = parameters.model_copy(update={"search_calibrations": [NamedSource("more", str(other))]})
    assert run_key("cross-model", moved) == key
    renamed = moved.model_copy(update={"search_calibrations": [NamedSource("less", str(other))]})
    assert run_key("cross-model", renamed) != key
    for path in (other, folder / "task.yaml", other_model / "model.safetensors"):
        before = path.read_bytes()
        path.write_bytes(b"changed")
        assert run_key("cross-model", moved) != key
        path.write_bytes(before)
    assert run_key("cross-model", moved) == key
    assert run_key("cross-model", moved.model_copy(update={"budget": parse_duration("2h")})) != key


def test_the_parameter_comes_before_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None) == f"sqlite:///{home / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(None) == "http://127.0.0.1:5000"
    assert tracking_uri("sqlite:///x.db") == "sqlite:///x.db"


def test_an_unusable_server_is_one_sentence() -> None:
    with refused("nowhere://x:***@y", "tracking_uri", "experiment"):
        connect(TrackingParameters(tracking_uri="nowhere://x:secret@y"))


def test_no_password_is_shown() -> None:
    assert public_uri("postgresql://me:secret@db:5432/mlflow") == "postgresql://me:***@db:5432/mlflow"
    assert public_uri("postgresql://me:me@me:5432/me") == "postgresql://me:***@me:5432/me"
    assert public_uri("http://:s3cr@t@host/x?y=1") == "http://:***@host/x?y=1"
    assert public_uri("sqlite:////tmp/mlflow.db") == "sqlite:////tmp/mlflow.db"


def test_a_deleted_experiment_is_named_as_such(tracked_parameters: PipelineParameters) -> None:
    tracking = connect(tracked_parameters)
    tracking.client.delete_experiment(tracking.experiment_id)
    with refused(tracked_parameters.experiment, "deleted", "restore", tracking.experiment_id):
        connect(tracked_parameters)


def test_the_experiment_has_a_kind_and_a_description_which_users_may_change(
    tracked_parameters: PipelineParameters,
) -> None:
    def tags() -> dict[str, str]:
        tracking = connect(tracked_parameters)
        present: dict[str, str] = tracking.client.get_experiment(tracking.experiment_id).tags
        return present

    assert tags()["mlflow.experimentKind"] == "custom_model_development"
    assert "ratio_to_dense" in tags()["mlflow.note.content"]
    assert "{" not in tags()["mlflow.note.content"]
    tracking = connect(tracked_parameters)
    tracking.client.set_experiment_tag(tracking.experiment_id, "mlflow.note.content", "ours")
    assert tags()["mlflow.note.content"] == "ours"


def test_an_experiment_of_an_earlier_version_gets_the_view_of_its_runs_once(
    tracked_parameters: PipelineParameters,
) -> None:
    tracking = connect(tracked_parameters)

    def view() -> str:
        connect(tracked_parameters)
        return str(tracking.client.get_experiment(tracking.experiment_id).tags[VIEW_TAG])

    tracking.client.delete_experiment_tag(tracking.experiment_id, VIEW_TAG)
    first = view()
    assert view() == first
    # Versions with named views read the state within the name, and earlier ones all around it.
    named = json.loads(first)
    state = json.loads(named["state"])
    assert state.items() <= named.items()
    assert "metrics.`pruned/ratio_to_dense`" in state["selectedColumns"]
    assert set(state["columnOrder"]) == set(state["selectedColumns"]) == set(state["columnWidths"])
    assert len(first) < 5000  # what a database takes
    assert named["name"]


def test_a_run_is_tagged_with_its_model_and_sparsity(model: Path) -> None:
    assert run_tags(PipelineParameters(model=str(model), sparsity="2:4")) == {"model": "model", "sparsity": "2:4"}
    assert run_tags(ModelParameters(model=str(model))) == {"model": "model"}


@pytest.mark.parametrize("uri", ["sqlite:///", "sqlite://", "sqlite:///:memory:", "sqlite:///{folder}", "http://[::1"])
def test_an_address_that_keeps_nothing_is_refused_at_once(uri: str, tmp_path: Path) -> None:
    with refused("tracking_uri"):
        connect(TrackingParameters(tracking_uri=uri.format(folder=tmp_path)))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "text.db"
    file.write_text("no database " * 100)
    with refused("tracking_uri", file.name):
        connect(TrackingParameters(tracking_uri=f"sqlite:///{file}"))
    assert file.read_text().startswith("no database")
