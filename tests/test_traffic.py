"""Scores, threshold and mask are computed in one pass over a layer's weights: the traffic to a GPU's memory."""

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fake_device import FakeGpus, no_threads
from optishear import row_blocks
from optishear.masks.masked import write_masked
from optishear.metrics.metric import MAGNITUDE, RIA, WANDA, MetaMetric, PowerMetric
from optishear.models.layers import PrunableLayer
from optishear.pattern import parse_pattern
from optishear.pruning.apply import masks_of_rows
from optishear.searching.masked_weights import MaskedWeights
from optishear.statistics.statistics import Statistics

HEIGHT, WIDTH, BLOCK = 1024, 1024, 2**16
WEIGHTS = HEIGHT * WIDTH
# As the temporary tensors of a block may be to stay in a cache of 24 MiB, with blocks of 2^21 weights.
CACHE = 12 * BLOCK
# Bytes for each weight, of main memory.
LIMIT = 16
METRICS = [
    WANDA,
    RIA,
    MAGNITUDE,
    MetaMetric(weight_operation="softmax", weight_coefficient="relative_sum"),
    PowerMetric(activation_exponent=0.5, sums_exponent=0.7, column_share=0.3),
]
each_metric = pytest.mark.parametrize("metric", METRICS, ids=str)
each_sparsity = pytest.mark.parametrize("sparsity", ["0.5", "2:4"])


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpus]:
    monkeypatch.setattr(row_blocks, "_GPU_WEIGHTS", BLOCK)
    with FakeGpus(1, cache=CACHE) as gpus, no_threads(), torch.no_grad():
        yield gpus


def linear() -> SimpleNamespace:
    """A layer on the GPU, and its statistics."""
    random = torch.Generator().manual_seed(0)
    module = nn.Linear(WIDTH, HEIGHT, bias=False, dtype=torch.bfloat16)
    module.weight.requires_grad_(False).copy_(torch.randn(HEIGHT, WIDTH, generator=random))
    layer = PrunableLayer("layer", module.to("cuda"), 0, "mlp_in")
    return SimpleNamespace(layer=layer, statistics=Statistics({"layer": torch.rand(WIDTH, generator=random)}))


def per_weight(gpus: FakeGpus) -> float:
    return sum(gpus.traffic.values()) / WEIGHTS


@each_metric
@each_sparsity
def test_a_new_mask_in_a_search(metric: Any, sparsity: str, gpu: FakeGpus) -> None:
    made = linear()
    with MaskedWeights([made.layer], made.statistics, parse_pattern(sparsity), 0) as weights:
        gc.collect()
        gpu.reset()
        before = gpu.live["cuda:0"]
        weights.apply([metric], [WIDTH // 2])
        # The dense weight is read for the scores and for the result, and the result is written.
        assert gpu.traffic == {"read": 4 * WEIGHTS, "written": 2 * WEIGHTS}
        assert per_weight(gpu) <= LIMIT
        # The temporary tensors of a block together; half as much again where rows with equal scores are sorted.
        assert gpu.peak["cuda:0"] - before <= CACHE * (1.5 if metric is MAGNITUDE else 1.05)


@pytest.mark.parametrize("copy_on_host", [False, True])
def test_masks_from_ranks(copy_on_host: bool, gpu: FakeGpus) -> None:
    made = linear()
    with MaskedWeights([made.layer], made.statistics, parse_pattern("0.5"), 1e9, copy_on_host) as weights:
        weights.apply([RIA], [WIDTH // 2])
        for count in (WIDTH // 2 + 8, WIDTH // 2 + 9):  # the ranks are computed, then there
            gpu.reset()
            weights.apply([RIA], [count])
            assert per_weight(gpu) <= LIMIT


@each_metric
@each_sparsity
def test_the_application_of_a_recipe(metric: Any, sparsity: str, gpu: FakeGpus) -> None:
    made = linear()
    weight = made.layer.module.weight
    gpu.reset()
    for rows, mask in masks_of_rows(metric, made.layer, made.statistics, parse_pattern(sparsity), WIDTH // 2):
        write_masked(weight[rows], mask, weight[rows])
    assert per_weight(gpu) <= LIMIT


def test_operations_on_whole_layers_are_counted(gpu: FakeGpus) -> None:
    weight = linear().layer.module.weight
    gpu.reset()
    weight.float().abs_()
    assert gpu.traffic == {"read": (2 + 4) * WEIGHTS, "written": (4 + 4) * WEIGHTS}
