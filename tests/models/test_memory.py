"""A model that is larger than the free memory is refused before it is loaded."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from optishear.errors import InputError
from optishear.models import memory
from optishear.models.load import load_model
from optishear.models.memory import check_memory, free_memory, weight_count
from tiny import tiny_model
from wording import refused

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free bytes by type of device, to be set."""
    bytes_of = {"cpu": 2**40, "cuda": 2**40}
    monkeypatch.setattr(memory, "free_memory", lambda device: bytes_of[device.type])
    return bytes_of


def test_weights_that_fit_are_let_through(free: dict[str, int]) -> None:
    free["cpu"] = 4_000_000
    check_memory("a model", {CPU: 1_000_000}, "float32")
    check_memory("a model", {CPU: 2_000_000}, "bfloat16")
    check_memory("a model", {CPU: 2_000_000}, "float16")


def test_wording_of_one_byte_too_many(free: dict[str, int]) -> None:
    free["cpu"] = 4 * 2**30 - 1
    with pytest.raises(InputError) as caught:
        check_memory("a model", {CPU: 2**30}, "float32")
    assert str(caught.value) == (
        "The weights of the model 'a model' need 4.00 GiB in float32, and 4.00 GiB of the machine's memory are free; "
        "give dtype bfloat16, which needs 2.00 GiB, or take a smaller model or another machine."
    )


@pytest.mark.parametrize(("dtype", "half"), [("float32", 2**28), ("bfloat16", 2**30)])
def test_half_the_bytes_are_offered_only_where_they_fit(free: dict[str, int], dtype: str, half: int) -> None:
    free["cpu"] = half
    with pytest.raises(InputError, match="are free; free some, or take"):
        check_memory("a model", {CPU: 2**30}, dtype)


def test_a_gpu_needs_both(free: dict[str, int]) -> None:
    free["cuda"] = 2**20
    with pytest.raises(InputError, match="of the GPU's memory are free"):
        check_memory("a model", {CPU: 2**30, CUDA: 2**30}, "bfloat16")
    free["cpu"], free["cuda"] = 2**20, 2**40
    with pytest.raises(InputError, match="of the machine's memory are free"):
        check_memory("a model", {CPU: 2**30, CUDA: 2**30}, "bfloat16")


def test_tied_weights_count_once() -> None:
    model = tiny_model()
    assert weight_count(model) == sum(
        tensor.numel() for name, tensor in model.state_dict().items() if "head" not in name
    )


def test_it_is_counted_before_the_weights_are_read(
    model_folder: Path, free: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optishear.models.load._weights", lambda *_: pytest.fail("loaded"))
    free["cpu"] = 4 * weight_count(tiny_model()) - 1
    with refused("float32", "dtype", "bfloat16"):
        load_model(str(model_folder), dtype="float32", device="cpu")


def test_what_a_machine_and_its_container_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_own_cgroup", lambda: tmp_path / "a" / "b")
    assert free_memory(CPU) == 1000

    limit(tmp_path / "a" / "b", "max", 50)
    limit(tmp_path / "a", "600", 250)
    assert free_memory(CPU) == 600 - 250 + 100
    limit(tmp_path, "300", 250)
    assert free_memory(CPU) == 150
    limit(tmp_path / "a", "100", 250)
    assert free_memory(CPU) == 0


def limit(group: Path, most: str, used: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text("anon 3\ninactive_file 100\n")
