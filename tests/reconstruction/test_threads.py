"""A reconstruction does not depend on the number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pattern import parse_pattern
from optishear.recipes.recipe import named_recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.statistics.collect import collect_statistics
from tiny import VOCABULARY, random_calibration

# Wide enough for products and factors that PyTorch splits among threads.
SIZES = {"hidden_size": 192, "intermediate_size": 384, "num_hidden_layers": 2, "num_attention_heads": 4}
CALIBRATION = random_calibration(8, 64)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reconstructed(sparsity: str, count: int, changes: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a random model after a reconstruction with so many threads."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=VOCABULARY)).eval()
    with threads(count):
        statistics = collect_statistics(model, CALIBRATION, progress=False)
        recipe = named_recipe("wanda", parse_pattern(sparsity))
        reconstruct(model, recipe, statistics, CALIBRATION, ReconstructionParameters(**changes))
    return {name: value.detach() for name, value in model.named_parameters()}


@pytest.mark.parametrize(
    ("sparsity", "changes"),
    [
        ("0.5", {"reconstruction": "admm"}),
        ("2:4", {"reconstruction": "admm"}),
        ("0.5", {"reconstruction": "admm", "reconstruction_masks": "recipe"}),
        ("0.5", {"reconstruction": "sparsegpt"}),
        ("2:4", {"reconstruction": "sparsegpt"}),
        ("0.5", {"reconstruction": "sparsegpt", "reconstruction_masks": "recipe"}),
        ("0.5", {"reconstruction": "admm", "tuning_steps": 2}),
    ],
)
def test_one_and_two_threads_give_the_same_bytes(sparsity: str, changes: dict[str, Any]) -> None:
    one, two = (reconstructed(sparsity, count, changes) for count in (1, 2))
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
