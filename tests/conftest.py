"""Fixtures that tests of several parts ask for."""

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from optishear.models import precision
from task_folder import TaskFolder
from tiny import FAMILIES, make_tokenizer, tiny_model

# Tests neither see nor change what the user keeps.
_HOME = tempfile.TemporaryDirectory(prefix="optishear-tests-")
os.environ["OPTISHEAR_HOME"] = _HOME.name
# The tests compute in float32 on every processor; those of the precision say for which processor they are.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("OPTISHEAR_HOME", str(folder))
    return folder


@pytest.fixture
def task_folder(tmp_path: Path) -> TaskFolder:
    """An empty folder for task files, beside its data."""
    return TaskFolder(tmp_path / "tasks")


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the test run on a processor of its choice, as far as the choice of the precision goes."""

    def choose(*, native: bool, bfloat16_time: float, name: str = "a processor") -> None:
        chosen = precision.Processor(name, "AVX-512 BF16" if native else "AVX2", native)
        monkeypatch.setattr(precision, "processor_of", lambda _: chosen)
        monkeypatch.setattr(precision, "bfloat16_time", lambda _: bfloat16_time)

    monkeypatch.setattr(precision, "_decisions", {})
    for once in (precision.announce, precision.warn_if_emulated):
        once.cache_clear()
    return choose


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Every family in turn."""
    name: str = request.param
    return name


@pytest.fixture
def family_model(family: str) -> PreTrainedModel:
    """A tiny random model of every family in turn."""
    return tiny_model(family)


@pytest.fixture
def tiny_llama() -> PreTrainedModel:
    """A tiny random Llama."""
    return tiny_model("llama")


@pytest.fixture
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer for the tiny models."""
    return make_tokenizer()


@pytest.fixture
def model_folder(tmp_path: Path, tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A tiny random Llama with its tokenizer, saved."""
    folder = tmp_path / "tiny-llama"
    tiny_llama.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of its own for the whole session."""
    # First, as it sets what Prefect reads when it is imported.
    importlib.import_module("flows")
    testing = importlib.import_module("prefect.testing.utilities")
    with testing.prefect_test_harness(server_startup_timeout=180):
        yield
