"""What block tuning and distillation train, and which state they keep."""

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from optishear.divergence.model_divergence import ModelDivergence
from optishear.reconstruction.block_tuning import tune_block
from optishear.reconstruction.distillation import distil
from optishear.reconstruction.master_weights import unpruned
from optishear.reconstruction.stream import BlockCall


class Scripted:
    """A reconstruction error whose held-out values are given, and whose gradient is one everywhere."""

    def __init__(self, weight: Tensor, held_out: list[float]) -> None:
        self.tokens = torch.zeros(4, 8, dtype=torch.long)
        self.seen: list[Tensor] = []
        self._weight = weight
        self._held_out = iter(held_out)

    def measure(self, _: int) -> dict[str, float]:
        self.seen.append(self._weight.detach().clone())
        return {"kl": next(self._held_out)}

    def backward(self, _first: int, _count: int) -> None:
        self._weight.sum().backward()


@pytest.mark.parametrize(
    ("held_out", "kept"), [([3.0, 1.0, 2.0], 1), ([3.0, 2.0, 1.0], 2), ([1.0, 2.0, 1.0], 0), ([1.0, 0.5, 0.5], 1)]
)
def test_distillation_keeps_the_best_state_on_the_way(held_out: list[float], kept: int) -> None:
    weight = nn.Parameter(torch.ones(2, 4))
    error = Scripted(weight, held_out)
    mask = torch.tensor([[True, False] * 2] * 2)
    made = distil(
        cast(ModelDivergence, error),
        {weight: mask},
        [],
        steps=4,
        sequences_per_step=2,
        rate=0.1,
        held_out=1,
    )
    assert torch.equal(weight, error.seen[kept])
    assert (made.before, made.after) == (held_out[0], min(held_out))
    assert not torch.equal(error.seen[0], error.seen[1])


def test_block_tuning_keeps_the_best_state_on_the_way() -> None:
    """The batch to train on pulls a weight from 0 towards 1; the one held out is best near 0.3, on the way there."""
    block = nn.Linear(1, 1, bias=False)
    block.weight.data.fill_(0.05)
    ones = torch.ones(1, 1, 1)
    made = tune_block(
        block,
        BlockCall((), {}),
        [ones, ones],
        [ones, 0.3 * ones],
        {block.weight: torch.ones(1, 1, dtype=torch.bool)},
        steps=60,
        rate=0.5,
        held_out=1,
    )
    assert 0 < made.after < made.before
    assert float(block.weight) == pytest.approx(0.3, abs=0.03)


def test_beside_the_pruned_weights_only_norms_and_biases_are_trained() -> None:
    block = nn.Module()
    block.linear = nn.Linear(4, 4)
    block.norm = nn.LayerNorm(4)
    block.experts = nn.Parameter(torch.ones(2, 4, 4))
    block.router = nn.Parameter(torch.ones(2, 4))
    found = unpruned(block, {block.linear.weight: torch.ones(4, 4, dtype=torch.bool)})
    assert {id(parameter) for parameter in found} == {
        id(parameter) for parameter in (block.linear.bias, block.norm.weight, block.norm.bias)
    }
