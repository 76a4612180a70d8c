"""Which state block tuning keeps."""

import pytest
import torch
from torch import nn

from optishear.reconstruction.block_tuning import BlockTuning, tune_block
from optishear.reconstruction.stream import BlockCall


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
        [block.weight],
        steps=60,
        rate=0.5,
        held_out=1,
    )
    assert 0 < made.after < made.before
    assert float(block.weight) == pytest.approx(0.3, abs=0.03)


def linear_block() -> nn.Linear:
    torch.manual_seed(0)
    block = nn.Linear(4, 4, bias=False)
    block.weight.data[block.weight.abs() < 0.2] = 0
    return block


def tuned(block: nn.Module, sequences: int) -> BlockTuning:
    random = torch.Generator().manual_seed(1)
    inputs = [torch.randn(4, 8, 4, generator=random) for _ in range(3)]
    targets = [value @ torch.full((4, 4), 0.3) for value in inputs]
    call = BlockCall((), {}, sequences)
    return tune_block(block, call, inputs, targets, [block.weight], steps=6, rate=0.1, held_out=1)


def test_a_batch_in_parts_gives_the_same_steps() -> None:
    whole, parts = linear_block(), linear_block()
    tuned(whole, 4)
    tuned(parts, 1)
    torch.testing.assert_close(whole.weight, parts.weight)
    assert not torch.equal(whole.weight, linear_block().weight)


def test_where_memory_runs_out_the_weights_are_as_before() -> None:
    block = linear_block()
    passes = iter(range(6))

    def run_out(*_: object) -> None:
        # After the evaluation of the start and two steps.
        if next(passes) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    block.register_forward_pre_hook(run_out)
    with pytest.raises(torch.OutOfMemoryError):
        tuned(block, 4)
    assert torch.equal(block.weight, linear_block().weight)
    assert not block.weight.requires_grad
