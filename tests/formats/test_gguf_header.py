"""The header of a GGUF file is read whole, or refused before anything is allocated by its counts."""

import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from gguf.constants import GGML_QUANT_SIZES

from models.conftest import write_gguf  # noqa: F401
from optishear.formats.gguf_header import DamagedGgufError, check_sizes, read_header

_SIZES = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}


@pytest.fixture
def file(tmp_path: Path, write_gguf: Callable[..., Path]) -> Path:  # noqa: F811
    return write_gguf(tmp_path / "tiny.gguf")


def test_a_whole_file_is_read(file: Path) -> None:
    header = read_header(file)
    assert header.values["llama.embedding_length"] == 32
    assert header.tensors["token_embd.weight"].shape == (32, 40)
    check_sizes(header, file.stat().st_size, _SIZES)


def test_a_file_that_is_cut_anywhere_is_refused(file: Path) -> None:
    content = file.read_bytes()
    end = read_header(file).data
    for length in [*range(0, end, 7), end, end + 1, len(content) - 33]:
        file.write_bytes(content[:length])
        with pytest.raises(DamagedGgufError):
            check_sizes(read_header(file), length, _SIZES)


@pytest.mark.parametrize("at", [8, 16], ids=["tensors", "metadata"])
@pytest.mark.parametrize("count", [2**32, 2**63, 2**64 - 1])
def test_an_absurd_count_is_refused_before_memory_is_taken(file: Path, at: int, count: int) -> None:
    content = bytearray(file.read_bytes())
    content[at : at + 8] = struct.pack("<Q", count)
    file.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedGgufError):
            read_header(file)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_changed_byte_is_a_header_or_one_error(file: Path) -> None:
    content = file.read_bytes()
    for at in range(0, read_header(file).data, 5):
        changed = bytearray(content)
        changed[at] ^= 0xFF
        file.write_bytes(changed)
        with suppress(DamagedGgufError):
            check_sizes(read_header(file), len(content), _SIZES)
