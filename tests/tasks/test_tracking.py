"""A run that is repeated finds itself again in MLflow, and logs nothing twice."""

from pathlib import Path

import pytest

from optishear.errors import InputError
from optishear.parameters import Pipeline, TrackingParameters
from tasks import tracking
from tasks.register import flat_metrics
from tasks.tracking import connect, public_uri, run_key, tracked_run, tracking_uri


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all tests, as making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def parameters(database: str, model: Path, request: pytest.FixtureRequest) -> Pipeline:
    return Pipeline(model=str(model), tracking_uri=database, experiment=request.node.name)


def test_a_repeated_run_is_one_run(parameters: Pipeline, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    for seconds in (12.5, 12.5):
        report.write_text("page")
        with tracked_run("pipeline", parameters) as run:
            run.log_parameters({"sparsity": "0.5", "tasks": ["boolq"], "limit": None})
            run.log_metrics({"seconds/search": seconds, "pruned/acc,none": 0.5, "missing": None})
            run.log_file(report)
    client = run.tracking.client
    (only,) = client.search_runs([run.tracking.experiment_id])
    assert only.info.status == "FINISHED"
    assert only.info.run_name == "pipeline model 0.5"
    assert only.data.params == {"sparsity": "0.5", "tasks": "['boolq']"}
    assert only.data.metrics == {"seconds/search": 12.5, "pruned/acc_none": 0.5}
    assert len(client.get_metric_history(only.info.run_id, "seconds/search")) == 1
    assert [file.path for file in client.list_artifacts(only.info.run_id)] == ["report.html"]


def test_another_value_of_a_param_keeps_the_first(parameters: Pipeline) -> None:
    for batch_size in (8, 4):
        with tracked_run("pipeline", parameters) as run:
            run.log_parameters({"batch_size": batch_size})
    assert run.tracking.client.get_run(run.run_id).data.params == {"batch_size": "8"}


def test_a_failure_is_told_and_forgotten_after_success(parameters: Pipeline) -> None:
    with pytest.raises(RuntimeError), tracked_run("pipeline", parameters) as run:
        raise RuntimeError("out of disk")
    failed = run.tracking.client.get_run(run.run_id)
    assert failed.info.status == "FAILED"
    assert failed.data.tags[tracking.FAILURE_TAG] == "RuntimeError: out of disk"
    with tracked_run("pipeline", parameters) as again:
        pass
    assert again.run_id == run.run_id
    finished = run.tracking.client.get_run(run.run_id)
    assert finished.info.status == "FINISHED"
    assert tracking.FAILURE_TAG not in finished.data.tags


def test_a_run_is_known_by_what_it_makes(parameters: Pipeline, model: Path) -> None:
    key = run_key("pipeline", parameters)
    moved = model.rename(model.with_name("moved"))
    same = parameters.model_copy(update={"model": str(moved), "device": "cpu", "output": Path("x"), "experiment": "e"})
    assert run_key("pipeline", same) == key
    assert run_key("search", same) != key
    assert run_key("pipeline", same.model_copy(update={"seed": 1})) != key
    (moved / "model.safetensors").write_bytes(b"others!")
    assert run_key("pipeline", same) != key


def test_the_parameter_comes_before_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(TrackingParameters()) == f"sqlite:///{home / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(TrackingParameters()) == "http://127.0.0.1:5000"
    assert tracking_uri(TrackingParameters(tracking_uri="sqlite:///x.db")) == "sqlite:///x.db"


def test_an_unusable_server_is_one_sentence() -> None:
    with pytest.raises(
        InputError, match=r"'nowhere://x:\*\*\*@y' cannot be used .*; check tracking_uri and experiment\.$"
    ):
        connect(TrackingParameters(tracking_uri="nowhere://x:secret@y"))


def test_no_password_is_shown() -> None:
    assert public_uri("postgresql://me:secret@db:5432/mlflow") == "postgresql://me:***@db:5432/mlflow"
    assert public_uri("sqlite:////tmp/mlflow.db") == "sqlite:////tmp/mlflow.db"


def test_metrics_have_flat_names() -> None:
    metrics = {
        "achieved_sparsity": 0.5,
        "pruned": {"perplexity": 30.5, "sparsity": 0.5, "tasks": {"boolq": {"acc": {"value": 0.6, "stderr": 0.1}}}},
        "wanda": {"perplexity": "inf", "tasks": {}},
        "stages": {"search": {"seconds": 9.0, "peak_memory_bytes": 10, "cached": False}},
        "search": {"objectives": {"kl": 0.1}, "wanda_objectives": {"kl": 0.2}},
    }
    assert flat_metrics(metrics) == {
        "achieved_sparsity": 0.5,
        "pruned/perplexity": 30.5,
        "pruned/sparsity": 0.5,
        "pruned/boolq/acc": 0.6,
        "seconds/search": 9.0,
        "peak_memory_bytes/search": 10,
        "search/objectives/kl": 0.1,
        "search/wanda_objectives/kl": 0.2,
    }
