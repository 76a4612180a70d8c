"""An MLflow database, and parameters of a flow that is tracked in it."""

import shutil
from pathlib import Path

import pytest

from flows.parameters.pipeline import PipelineParameters


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory, new_mlflow_database: Path) -> str:
    """One database for all tests."""
    return f"sqlite:///{shutil.copyfile(new_mlflow_database, tmp_path_factory.mktemp('mlflow') / 'mlflow.db')}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What looks like a model, to be told from another one."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def tracked_parameters(database: str, model: Path, request: pytest.FixtureRequest) -> PipelineParameters:
    """A pipeline in an experiment of the test's own."""
    return PipelineParameters(model=str(model), tracking_uri=database, experiment=request.node.name)
