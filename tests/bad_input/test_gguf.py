"""A GGUF file is converted to a model that computes finite numbers, or refused in one sentence."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bad_input.attack import attack, result_of
from bad_input.strategies import damaged
from models.conftest import write_gguf  # noqa: F401
from optishear.formats.gguf_header import DamagedGgufError, read_header
from optishear.models.load import load_model


@pytest.fixture
def file(tmp_path: Path, write_gguf: Callable[..., Path]) -> Path:  # noqa: F811
    return write_gguf(tmp_path / "tiny.gguf")


@given(data=st.data())
@attack(300)
def test_a_header(data: st.DataObject, file: Path) -> None:
    whole = file.read_bytes()
    changed = file.with_name("changed.gguf")
    changed.write_bytes(data.draw(damaged(whole, end=read_header(file).data)))
    with suppress(DamagedGgufError):
        read_header(changed)


@given(data=st.data())
@attack(40)
def test_a_conversion(data: st.DataObject, file: Path) -> None:
    whole = file.read_bytes()
    changed = file.with_name("changed.gguf")
    changed.write_bytes(data.draw(damaged(whole, most=1, end=read_header(file).data)))
    loaded = result_of(lambda: load_model(str(changed), device="cpu", dtype="float32"))
    if loaded is not None:
        assert bool(loaded.model(torch.tensor([[1, 5]])).logits.isfinite().all())
