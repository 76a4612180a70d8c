"""Calibration tokens on their way through a model on disk, block by block."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from optishear.reconstruction.stream import block_calls, first_inputs
from optishear.streaming.disk_model import DiskModel

# Runs all batches through a block, and calls a function after each of them.
RunBatches = Callable[[Callable[[], None]], None]


def each_block(disk: DiskModel, batches: list[Tensor]) -> Iterator[tuple[int, RunBatches]]:
    """The blocks in their order, each in memory until the next is asked for.

    Args:
        disk: the model.
        batches: token blocks [sequences, length]; their hidden states are in memory all the time.

    Yields:
        The index of a block, and what runs the batches through it; it is called once.
    """
    with disk.passing_through():
        one_of_each = {batch.shape: batch for batch in batches}
        calls = {shape: block_calls(disk.model, disk.blocks, batch) for shape, batch in one_of_each.items()}
    hidden = first_inputs(disk.model, disk.blocks, batches)
    for index, block in enumerate(disk.blocks):

        @torch.no_grad()
        def run(after: Callable[[], None]) -> None:
            for position, batch in enumerate(batches):
                hidden[position] = calls[batch.shape][index].run(block, hidden[position])  # noqa: B023
                after()

        with disk.resident(index):
            yield index, run
