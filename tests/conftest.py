"""Fixtures that tests of several parts ask for."""

import importlib
import os
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, processors
from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from task_folder import TaskFolder
from tiny import FAMILIES, tiny_model

# Tests neither see nor change what the user keeps.
_HOME = tempfile.TemporaryDirectory(prefix="optishear-tests-")
os.environ["OPTISHEAR_HOME"] = _HOME.name


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
    """A tokenizer of 128 tokens that fits the tiny models, and decodes what it encoded.

    One token for each printable ASCII character, one for each of 24 pairs of letters; ``<pad>``, ``<s>``,
    ``</s>`` and ``<unk>`` are 0 to 3. As Llama's does, it puts ``<s>`` before a text unless told not to.
    """
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    characters = list(string.printable)
    pairs = "th he in er an re nd at on nt ha es st en ed to it ou ea hi is or ti as".split()
    vocabulary = {token: i for i, token in enumerate(special + characters + pairs)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[(first, second) for first, second in pairs], unk_token="<unk>")
    )
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=256,
    )


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
