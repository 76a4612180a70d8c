"""A checkpoint's folder is a model that computes finite numbers, or one sentence."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bad_input.attack import attack, result_of
from bad_input.strategies import ANYTHING, changed, damaged
from optishear.models.load import load_model, load_without_weights
from optishear.models.token_ids import check_token_ids
from tiny import make_tokenizer, tiny_model

# What transformers reads of a folder, and what Hypothesis may add to it.
_CONFIG_KEYS = st.sampled_from(
    "architectures auto_map attn_implementation dtype torch_dtype quantization_config rope_scaling rope_parameters "
    "layer_types sliding_window num_local_experts num_experts_per_tok tie_word_embeddings is_encoder_decoder "
    "pad_token_id eos_token_id head_dim partial_rotary_factor attention_bias id2label text_config use_cache".split()
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose weights are in two files with an index."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny_model().save_pretrained(folder, max_shard_size="40KB")
    make_tokenizer().save_pretrained(folder)
    return folder


@contextmanager
def _with(file: Path, content: bytes) -> Iterator[None]:
    whole = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(whole)


def _try(folder: Path, name: str, content: bytes) -> None:
    """Read the model as the checks of a run do, and then as its stages do."""
    file = folder / name
    with _with(file, content):
        if result_of(lambda: load_without_weights(str(folder))) is None:
            return
        loaded = result_of(lambda: load_model(str(folder), device="cpu", dtype="float32"))
        if loaded is None:
            return
        tokens = loaded.tokenizer("the rest is heat")["input_ids"]
        assert tokens
        loaded.tokenizer.decode(tokens)
        tensor = torch.tensor([tokens])
        if result_of(lambda: check_token_ids(loaded.model, tensor, loaded.tokenizer) or True):
            assert bool(loaded.model(tensor).logits.isfinite().all())


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@given(data=st.data())
@attack(100)
def test_config_json(data: st.DataObject, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    if data.draw(st.booleans()):
        config[data.draw(_CONFIG_KEYS)] = data.draw(ANYTHING)
        _try(folder, "config.json", _json(config))
    else:
        _try(folder, "config.json", data.draw(changed(config).map(_json)))


@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer_config.json", "tokenizer.json"])
@given(data=st.data())
@attack(60)
def test_files_beside_the_weights(name: str, data: st.DataObject, folder: Path) -> None:
    content = json.loads((folder / name).read_text())
    _try(folder, name, data.draw(changed(content).map(_json)))


@given(data=st.data())
@attack(60)
def test_the_index(data: st.DataObject, folder: Path) -> None:
    name = "model.safetensors.index.json"
    _try(folder, name, data.draw(changed(json.loads((folder / name).read_text())).map(_json)))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
@given(data=st.data())
@attack(15)
def test_damaged_json(name: str, data: st.DataObject, folder: Path) -> None:
    _try(folder, name, data.draw(damaged((folder / name).read_bytes())))


@given(data=st.data())
@attack(60)
def test_weights(data: st.DataObject, folder: Path) -> None:
    file = min(folder.glob("*.safetensors"))
    content = file.read_bytes()
    _try(folder, file.name, data.draw(damaged(content, end=8 + int.from_bytes(content[:8], "little"))))
