"""Which state block tuning keeps."""

import pytest
import torch
from torch import nn

from optishear.reconstruction.block_tuning import tune_block
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
