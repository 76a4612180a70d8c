"""Fixtures that tests of several parts ask for."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from task_folder import TaskFolder

if TYPE_CHECKING:  # The process that only hands out the tests to others does not wait for PyTorch.
    from transformers import PreTrainedTokenizerFast
    from transformers.modeling_utils import PreTrainedModel

# Tests neither see nor change what the user keeps.
_HOME = tempfile.TemporaryDirectory(prefix="optishear-tests-")
os.environ["OPTISHEAR_HOME"] = _HOME.name
# The tests compute in float32 on every processor; those of the precision say for which processor they are.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what the imports make out of every search for garbage: it never becomes any, and each would take a second.

    What the tests make is found as before.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("OPTISHEAR_HOME", str(folder))
    return folder


@pytest.fixture(params=[True, False], ids=["locks", "no locks"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with locks, and one without."""
    from optishear import file_lock

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if not request.param:
        monkeypatch.setattr(file_lock.fcntl, "flock", refuse)


@pytest.fixture
def task_folder(tmp_path: Path) -> TaskFolder:
    """An empty folder for task files, beside its data."""
    return TaskFolder(tmp_path / "tasks")


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the test run on a processor of its choice, as far as the choice of the precision goes."""

    from optishear.models import precision

    def choose(*, native: bool, bfloat16_time: float, name: str = "a processor") -> None:
        chosen = precision.Processor(name, "AVX-512 BF16" if native else "AVX2", native)
        monkeypatch.setattr(precision, "processor_of", lambda _: chosen)
        monkeypatch.setattr(precision, "bfloat16_time", lambda _: bfloat16_time)

    monkeypatch.setattr(precision, "_decisions", {})
    monkeypatch.setattr(precision, "_announced", {})
    precision.warn_if_emulated.cache_clear()
    return choose


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every family in turn, where a test asks for ``family``."""
    if "family" in metafunc.fixturenames:
        from tiny import FAMILIES

        metafunc.parametrize("family", sorted(FAMILIES))


@pytest.fixture
def family_model(family: str) -> PreTrainedModel:
    """A tiny random model of every family in turn."""
    from tiny import tiny_model

    return tiny_model(family)


@pytest.fixture
def tiny_llama() -> PreTrainedModel:
    """A tiny random Llama."""
    from tiny import tiny_model

    return tiny_model("llama")


@pytest.fixture
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer for the tiny models."""
    from tiny import make_tokenizer

    return make_tokenizer()


@pytest.fixture
def model_folder(tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A tiny random Llama with its tokenizer, saved."""
    folder = tmp_path / "tiny-llama"
    tiny_llama.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def new_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without a run, for tests to copy: to set one up takes seconds."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one for all processes
        folder = folder.parent
    path = folder / "new-mlflow.db"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            tracking = importlib.import_module("mlflow.tracking")
            unfinished = path.with_suffix(".partial")
            tracking.MlflowClient(tracking_uri=f"sqlite:///{unfinished}").search_experiments()
            unfinished.rename(path)
    return path


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of its own for the whole session."""
    # First, as it sets what Prefect reads when it is imported.
    importlib.import_module("flows")
    testing = importlib.import_module("prefect.testing.utilities")
    with testing.prefect_test_harness(server_startup_timeout=180):
        yield
