"""Every stage on GPUs that are not there: unlike devices raise, results equal the CPU's, nothing big is moved."""

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
import torch

from fake_device import DeviceMismatch, FakeGpus, enter_thread, no_threads
from families.families import family_model
from optishear.calibration.self_generated import generate
from optishear.diagnosis.layer_errors import layer_errors
from optishear.diagnosis.pruned_weights import masked_by
from optishear.divergence.model_divergence import ModelDivergence
from optishear.evaluation.perplexity import window_losses
from optishear.memory.model_shape import shape_of, shape_of_shard
from optishear.metrics.metric import RIA, WANDA
from optishear.models.devices import devices_of
from optishear.models.layers import prunable_layers
from optishear.models.load import load_model
from optishear.models.shards import placement_of
from optishear.models.write import write_checkpoint
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import named_recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.recovery import replicas
from optishear.recovery.budget import Budget
from optishear.recovery.recover import recover
from optishear.searching import masked_weights
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.search import run_search
from optishear.searching.search_memory import search_memory, search_work
from optishear.searching.sensitivity import marginal_costs
from optishear.statistics.collect import collect_statistics
from optishear.statistics.gradients import collect_gradients
from optishear.training import adam_passes
from recovery_text import words_text
from tiny import make_tokenizer, random_calibration, tiny_model

CALIBRATION = random_calibration(8, 16)
SMALL = {"trials": 12, "population": 4, "search_sequences": 2, "rounds": 2, "descent_steps": 2}
METHODS = [
    {"reconstruction": "admm"},
    {"reconstruction": "sparsegpt"},
    {"reconstruction": "admm", "tuning_steps": 2},
]


@pytest.fixture(autouse=True)
def steps_by_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of training that do not round differently on the CPU, where they are compiled."""
    monkeypatch.setattr(adam_passes, "compiled_passes", lambda _dtype: None)


def model_on(device: str, dtype: torch.dtype = torch.float32) -> Any:
    model = tiny_model("mistral").to(dtype).requires_grad_(False)
    model.config.use_cache = False
    return model.to(device)


@pytest.fixture
def on_all_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Loads the same model in shards, as ``device: shard`` does."""
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # the fake GPUs are seen by one thread
    write_checkpoint(tmp_path, model_on("cpu"), make_tokenizer())
    return lambda: load_model(str(tmp_path), dtype="float32", device="shard").model


def stages(model: Callable[[], Any], sparsity: str) -> dict[str, Any]:
    """What each stage gives, on the CPU."""
    dense = model()
    statistics = collect_statistics(dense, CALIBRATION, progress=False)
    result = run_search(
        dense,
        {"": CALIBRATION},
        statistics,
        read_parameters(SearchParameters, SMALL),
        parse_pattern(sparsity),
        progress=False,
    )
    results: dict[str, Any] = {
        "text": generate(dense, make_tokenizer(), 2, 8, 0).tokens,
        "statistics": list(statistics.squared_norms.values()),
        "gradients": list(collect_gradients(dense, CALIBRATION, progress=False).values()),
        "trials": result.trials.drop_columns(["seconds"]).to_pylist(),
        "recipe": result.recipe.model_dump(),
    }
    pruned = model()
    apply_recipe(pruned, result.recipe, statistics)
    results["pruned"] = [layer.module.weight.cpu().clone() for layer in prunable_layers(pruned)]
    for method in METHODS:
        reconstructed = model()
        reconstruct(
            reconstructed, result.recipe, statistics, CALIBRATION, read_parameters(ReconstructionParameters, method)
        )
        results[str(method)] = [layer.module.weight.cpu() for layer in prunable_layers(reconstructed)]
    with TemporaryDirectory() as folder:
        text = words_text(Path(folder), dense, length=16)
        recovery = recover(pruned, dense, prunable_layers(pruned), text, Budget(None, 128), rate=0.01)
    windows = CALIBRATION.tokens.reshape(4, 32)
    results["losses"] = window_losses(pruned, windows, 2, progress=False)
    methods = {"wanda": masked_by(named_recipe("wanda", sparsity), prunable_layers(dense), statistics)}
    results["diagnosis"] = [table.to_pylist() for table in layer_errors(dense, CALIBRATION.tokens, methods)]
    results["recovery"] = [point.kl for point in recovery.curve]
    results["recovered"] = [layer.module.weight.cpu() for layer in prunable_layers(pruned)]
    return results


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one.items():
        if isinstance(value, list) and isinstance(value[0], torch.Tensor):
            assert all(torch.equal(a, b) for a, b in zip(value, other[name], strict=True)), name
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, other[name]), name
        else:
            assert value == other[name], name


def test_gpus_that_share_a_recovery_give_what_the_cpu_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def recovered(device: str, *further: str) -> list[torch.Tensor]:
        dense, pruned = model_on(device), model_on(device)
        statistics = collect_statistics(pruned, CALIBRATION, progress=False)
        apply_recipe(pruned, named_recipe("wanda", "0.5"), statistics)
        text = words_text(tmp_path, dense, length=16)
        devices = [torch.device(name) for name in further]
        options: dict[str, Any] = {"sequences_per_step": 3, "rate": 0.01, "further_devices": devices}
        recover(pruned, dense, prunable_layers(pruned), text, Budget(None, 480), **options)
        return [parameter.cpu() for parameter in pruned.parameters()]

    expected = recovered("cpu", "cpu", "cpu")
    # Each thread has to see the fake GPUs.
    monkeypatch.setattr(replicas, "ThreadPoolExecutor", partial(ThreadPoolExecutor, initializer=enter_thread))
    with FakeGpus(3), no_threads():
        assert_equal({"weights": expected}, {"weights": recovered("cuda:1", "cuda:0", "cuda:2")})


def test_devices_that_differ_are_noticed() -> None:
    with FakeGpus(2):
        on_first = torch.ones(2, 3, device="cuda:0")
        assert (on_first * torch.tensor(2.0)).device == torch.device("cuda:0")
        for other in (torch.ones(2, 3), torch.ones(2, 3, device="cuda:1")):
            with pytest.raises(DeviceMismatch):
                on_first + other
        with pytest.raises(TypeError, match="can't convert cuda:0"):
            on_first.numpy()


@pytest.mark.parametrize("sparsity", ["0.5", "2:4"])
def test_a_gpu_gives_what_the_cpu_gives(sparsity: str) -> None:
    expected = stages(lambda: model_on("cpu"), sparsity)
    with FakeGpus(1), no_threads():
        on_gpu = stages(lambda: model_on("cuda"), sparsity)
    assert_equal(expected, on_gpu)


def test_half_precision_stays_on_the_gpu() -> None:
    with FakeGpus(1), no_threads():
        stages(lambda: model_on("cuda", torch.bfloat16), "0.5")


@pytest.mark.parametrize("sparsity", ["0.5", "2:4"])
def test_a_model_on_two_gpus_gives_what_the_cpu_gives(sparsity: str, on_all_gpus: Callable[[], Any]) -> None:
    expected = stages(lambda: model_on("cpu"), sparsity)
    with FakeGpus(2), no_threads():
        assert devices_of(on_all_gpus()) == (torch.device("cuda:0"), torch.device("cuda:1"))
        on_gpu = stages(on_all_gpus, sparsity)
    assert_equal(expected, on_gpu)


def test_a_model_on_two_gpus_is_searched_in_little_memory(on_all_gpus: Callable[[], Any]) -> None:
    model = model_on("cpu")
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    parameters, pattern = read_parameters(SearchParameters, SMALL), parse_pattern("0.5")
    expected = run_search(model, {"": CALIBRATION}, statistics, parameters, pattern, progress=False)
    work = search_work(parameters, len(CALIBRATION.tokens), CALIBRATION.tokens.shape[1], pattern)
    with FakeGpus(2) as gpus, no_threads():
        model = on_all_gpus()
        shard = shape_of_shard(model, placement_of(model))
        assert shard.prunable == shape_of(model).prunable // 2
        smallest = search_memory(shard, model.dtype.itemsize, parameters, work, 0, on_gpu=True)
        gpus.memory = smallest.need.total + sum(buffer.nbytes for buffer in model.buffers())
        gpus.reset()
        result = run_search(model, {"": CALIBRATION}, statistics, parameters, pattern, progress=False)
        assert gpus.transfers["h2d"]["bytes"] > 3 * shard.prunable * model.dtype.itemsize
    assert result.recipe == expected.recipe


def test_the_ranks_on_each_gpu_are_within_the_budget(on_all_gpus: Callable[[], Any]) -> None:
    model = model_on("cpu")
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    with FakeGpus(2), no_threads():
        layers = prunable_layers(on_all_gpus())
        sizes = [layer.module.weight.numel() for layer in layers if layer.decoder_layer == 0]
        budget = 2 * sum(sizes) - 1  # two bytes a rank: the last layer of each GPU has no room
        with MaskedWeights(layers, statistics, parse_pattern("0.5"), budget) as weights:
            for share in (2, 3):
                weights.apply([RIA] * len(layers), [layer.module.in_features // share for layer in layers])
            assert weights.rank_cache_bytes == 2 * 2 * sum(sizes[:-1])


def test_a_trial_moves_no_weights_between_host_and_gpu() -> None:
    model = model_on("cpu")
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    with FakeGpus(1) as gpus, no_threads():
        layers = prunable_layers(model.to("cuda"))
        with MaskedWeights(layers, statistics, parse_pattern("0.5"), 0) as weights:
            gpus.reset()
            weights.apply([RIA] * len(layers), [layer.module.in_features // 2 for layer in layers])
            norms = sum(layer.module.in_features * 4 for layer in layers)
            assert sum(transfer["bytes"] for transfer in gpus.transfers.values()) <= norms
            assert sum(gpus.syncs.values()) <= 4 * len(layers)


def test_a_search_without_room_for_a_copy_keeps_it_on_the_host() -> None:
    model = model_on("cpu")
    dense = [layer.module.weight.clone() for layer in prunable_layers(model)]
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    parameters, pattern = read_parameters(SearchParameters, SMALL), parse_pattern("0.5")
    work = search_work(parameters, len(CALIBRATION.tokens), CALIBRATION.tokens.shape[1], pattern)
    smallest = search_memory(shape_of(model), model.dtype.itemsize, parameters, work, 0, on_gpu=True)
    assert smallest.copy_on_host
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    with FakeGpus(1, memory=smallest.need.total + buffers) as gpus, no_threads():
        layers = prunable_layers(model.to("cuda"))
        gpus.reset()
        run_search(model, {"": CALIBRATION}, statistics, parameters, pattern, progress=False)
        assert gpus.transfers["h2d"]["bytes"] > 3 * sum(weight.nbytes for weight in dense)
        restored = [layer.module.weight.cpu() for layer in layers]
    assert all(map(torch.equal, dense, restored))


CANDIDATES = [(RIA, 0.5), (RIA, 0.25), (WANDA, 0.25), (WANDA, 0.5), (RIA, 0.75)]


def candidates_on(model: Any, statistics: Any, **how: Any) -> dict[str, Any]:
    """The weights and marginal costs of some candidates, and the dense weights at the end."""
    layers = prunable_layers(model)
    divergence = ModelDivergence(model, CALIBRATION.tokens[:4], ("kl",))
    results: dict[str, Any] = {"costs": []}
    with MaskedWeights(layers, statistics, parse_pattern("0.5"), **how) as weights:
        for number, (metric, share) in enumerate(CANDIDATES):
            counts = [int(share * layer.module.in_features) for layer in layers]
            assert weights.apply([metric] * len(layers), counts) == len(layers)
            results[f"candidate {number}"] = [layer.module.weight.detach().cpu().clone() for layer in layers]
            results["costs"].append(marginal_costs(weights, divergence, layers, 0, 4))
    results["restored"] = [layer.module.weight.detach().cpu() for layer in layers]
    return results


@pytest.mark.parametrize("memory_budget", [0, 1e9])
@pytest.mark.parametrize("model_type", ["mistral", "gpt2"])
def test_a_copy_on_the_host_gives_what_one_on_the_gpu_gives(model_type: str, memory_budget: float) -> None:
    def model() -> Any:
        made = family_model(model_type).requires_grad_(False)
        made.config.use_cache = False
        return made

    statistics = collect_statistics(model(), CALIBRATION, progress=False)
    with FakeGpus(1), no_threads():
        on_gpu = candidates_on(model().to("cuda"), statistics, memory_budget=memory_budget)
        on_host = candidates_on(model().to("cuda"), statistics, memory_budget=memory_budget, copy_on_host=True)
    assert_equal(on_gpu, on_host)


def test_a_copy_on_the_host_is_read_once_for_each_change() -> None:
    model = model_on("cpu", torch.bfloat16)
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    with FakeGpus(1) as gpus, no_threads():
        layers = prunable_layers(model.to("cuda"))
        size = sum(layer.module.weight.nbytes for layer in layers)
        norms = sum(layer.module.in_features * 4 for layer in layers)
        half = [layer.module.in_features // 2 for layer in layers]
        before = gpus.live["cuda:0"]
        with MaskedWeights(layers, statistics, parse_pattern("0.5"), 0, copy_on_host=True) as weights:
            assert gpus.live["cuda:0"] - before < size / 4
            gpus.reset()
            weights.apply([RIA] * len(layers), half)
            assert gpus.transfers["h2d"]["bytes"] == size + norms
            weights.apply([RIA] * len(layers), [half[0] + 1, *half[1:]])
            first = layers[0].module
            assert gpus.transfers["h2d"]["bytes"] == size + norms + first.weight.nbytes + first.in_features * 4
            assert weights.host_copy.uploaded_bytes == size + first.weight.nbytes


def test_masks_take_room_for_few_layers_however_many_threads_there_are() -> None:
    model = tiny_model("mistral", layers=16)
    statistics = collect_statistics(model, CALIBRATION, progress=False)
    with FakeGpus(1, sync_seconds=0.002) as gpus, ThreadPoolExecutor(32, initializer=enter_thread) as pool:
        layers = prunable_layers(model.to("cuda"))
        half = [layer.module.in_features // 2 for layer in layers]
        with (
            mock.patch.object(masked_weights, "_threads", return_value=pool),
            MaskedWeights(layers, statistics, parse_pattern("0.5"), 0) as weights,
        ):
            gc.collect()
            gpus.reset()
            before = gpus.live["cuda:0"]
            weights.apply([RIA] * len(layers), half)
    largest = max(layer.module.weight.numel() for layer in layers)
    assert gpus.peak["cuda:0"] - before < 3 * 12 * largest
