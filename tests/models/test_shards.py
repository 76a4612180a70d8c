"""Which device each part of a model is on, and the loading of a model in shards."""

import random
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
import torch
from tiny_checkpoint import write_tiny_checkpoint

from fake_device import FakeGpus, no_threads
from optishear.models import memory
from optishear.models.devices import devices_of, further_devices, resolve_devices, worker_devices
from optishear.models.load import load_model
from optishear.models.shards import balanced, device_map, placement_on, weights_by_device, weights_by_place
from optishear.pruning.checkpoint import save_checkpoint
from optishear.recipes.recipe import named_recipe
from tiny import tiny_model
from wording import refused

GPUS = tuple(torch.device("cuda", number) for number in range(4))


@pytest.fixture(autouse=True)
def loaded_in_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake GPUs are seen by one thread."""
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_checkpoint("llama", tmp_path / "model")
    return tmp_path / "model"


def largest(sizes: list[int], others: list[int], parts: list[int]) -> int:
    loads = list(others)
    for size, part in zip(sizes, parts, strict=True):
        loads[part] += size
    return max(loads)


def test_parts_of_equal_items() -> None:
    assert balanced([3] * 8, [0, 0]) == [0] * 4 + [1] * 4
    assert balanced([3] * 80, [1, *[0] * 6, 1]) == [part for part in range(8) for _ in range(10)]
    assert balanced([3, 3], [0, 0, 0]) != [0, 0]


def test_what_is_beside_the_items_counts() -> None:
    assert balanced([1, 1, 1, 1], [2, 0]) == [0, 1, 1, 1]
    assert balanced([1, 1, 1, 1], [0, 2]) == [0, 0, 0, 1]


@pytest.mark.parametrize("seed", range(8))
def test_no_parts_in_order_are_smaller(seed: int) -> None:
    numbers = random.Random(seed)
    sizes, others = [numbers.randrange(1, 9) for _ in range(6)], [numbers.randrange(9) for _ in range(3)]
    parts = balanced(sizes, others)
    assert parts == sorted(parts)
    least = min(largest(sizes, others, list(each)) for each in combinations_with_replacement(range(3), 6))
    assert largest(sizes, others, parts) == least


def test_blocks_are_in_order_and_the_ends_are_at_the_ends() -> None:
    placed = device_map("a model", tiny_model("mistral", layers=4), GPUS[:2])
    assert placed == {
        "model.embed_tokens": GPUS[0],
        "model.rotary_emb": GPUS[0],
        "model.layers.0": GPUS[0],
        "model.layers.1": GPUS[0],
        "model.layers.2": GPUS[1],
        "model.layers.3": GPUS[1],
        "model.norm": GPUS[1],
        "lm_head": GPUS[1],
    }


def test_a_tied_head_is_where_the_embeddings_are() -> None:
    placed = device_map("a model", tiny_model("llama", layers=4), GPUS[:2])
    assert placed["lm_head"] == placed["model.embed_tokens"] == GPUS[0]
    assert placed["model.norm"] == GPUS[1]


def test_each_weight_counts_on_its_device() -> None:
    model = tiny_model("mistral", layers=4)
    counts = weights_by_device(model, placement_on("a model", model, GPUS[:2]))
    assert counts[GPUS[0]] + counts[GPUS[1]] == sum(parameter.numel() for parameter in model.parameters())
    assert weights_by_place("a model", model, GPUS[:2]) == counts
    whole = weights_by_place("a model", model, GPUS[:1])
    assert whole == {torch.device("cpu"): counts.total(), GPUS[0]: counts.total()}


def test_without_a_gpu_it_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with refused("'shard'", "no GPUs", "cpu"):
        load_model(str(folder), device="shard")


def test_on_one_gpu_a_model_is_whole(folder: Path) -> None:
    with FakeGpus(1), no_threads():
        assert resolve_devices("shard") == (GPUS[0],)
        model = load_model(str(folder), device="shard", dtype="float32").model
        assert devices_of(model) == (GPUS[0],)
        assert not hasattr(model, "hf_device_map")


def test_a_model_is_loaded_onto_all_gpus_and_not_into_the_machines_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_model(str(folder), device="cpu", dtype="float32").model
    with FakeGpus(2), no_threads():
        free = memory.free_memory
        monkeypatch.setattr(memory, "free_memory", lambda device: 0 if device.type == "cpu" else free(device))
        model = load_model(str(folder), device="shard", dtype="float32").model
        assert devices_of(model) == GPUS[:2]
        for (name, one), (_, other) in zip(expected.named_parameters(), model.named_parameters(), strict=True):
            assert torch.equal(one, other.cpu()), name


def test_a_share_that_does_not_fit_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optishear.models.load._weights", lambda *_: pytest.fail("loaded"))
    with FakeGpus(2), no_threads():
        monkeypatch.setattr(memory, "free_memory", lambda device: 10**9 if device.index == 0 else 1000)
        with refused("float32", "on cuda:1", "1000 B", "GPU"):
            load_model(str(folder), device="shard", dtype="float32")


def test_a_model_that_its_own_code_builds_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optishear.models.load._without_weights", lambda *_: None)
    with FakeGpus(2), no_threads(), refused("cannot be on several GPUs", "device cuda"):
        load_model(str(folder), device="shard", dtype="float32")


def test_a_checkpoint_is_that_of_one_device(folder: Path, tmp_path: Path) -> None:
    recipe = named_recipe("magnitude", "0.5")
    loaded = load_model(str(folder), device="cpu", dtype="float32")
    save_checkpoint(tmp_path / "cpu", loaded.model, loaded.tokenizer, recipe)
    with FakeGpus(2), no_threads():
        loaded = load_model(str(folder), device="shard", dtype="float32")
        save_checkpoint(tmp_path / "shard", loaded.model, loaded.tokenizer, recipe)
    files = {path.name: path.read_bytes() for path in (tmp_path / "cpu").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "shard").iterdir()} == files


def test_a_device_that_is_unknown_names_all_kinds() -> None:
    with refused("'shards'", "auto", "cpu", "cuda:N", "shard", "disk"):
        resolve_devices("shards")


def test_gpus_beside_one_are_the_others_in_order() -> None:
    with FakeGpus(3), no_threads():
        assert further_devices(GPUS[1], 3) == (GPUS[0], GPUS[2])
        assert further_devices(torch.device("cuda"), 2) == (GPUS[1],)
        assert further_devices(GPUS[0], 1) == ()
        with refused("4 GPUs", "are 3", "recovery_gpus 3"):
            further_devices(GPUS[0], 4)
    assert further_devices(torch.device("cpu"), 1) == ()
    with refused("2 GPUs", "'cpu'", "are none", "recovery_gpus 1"):
        further_devices(torch.device("cpu"), 2)


def test_each_worker_has_a_gpu_and_the_process_shares_its_own_last() -> None:
    with FakeGpus(3), no_threads():
        assert worker_devices(GPUS[1], 2) == (GPUS[0], GPUS[2])
        assert worker_devices(torch.device("cuda"), 3) == (GPUS[1], GPUS[2], GPUS[0])
        assert worker_devices(GPUS[0], 0) == ()
        with refused("4 workers", "are 3", "workers 3"):
            worker_devices(GPUS[0], 4)
    assert worker_devices(torch.device("cpu"), 2) == (torch.device("cpu"),) * 2
