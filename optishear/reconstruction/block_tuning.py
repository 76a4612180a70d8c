"""Tune a pruned block as a whole, so that its output comes back to the dense block's.

The layer solvers match each layer's output alone; here the layers of a block, its norms and its biases make up for
each other's errors, and for those of the blocks before: the input is that of the pruned model, the target the output
of the dense block in the dense model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from optishear.reconstruction.stream import BlockCall
from optishear.training.schedule import rate_at
from optishear.training.trained_weights import TrainedWeights, unpruned


@dataclass(frozen=True)
class BlockTuning:
    """What tuning a block did.

    Attributes:
        before: mean square error on the held-out batches, relative to the target's mean square.
        after: the same at the end; equal where tuning did not help and was undone.
    """

    before: float
    after: float


def tune_block(
    block: nn.Module,
    call: BlockCall,
    inputs: list[Tensor],
    targets: list[Tensor],
    pruned: Sequence[Tensor],
    *,
    steps: int,
    rate: float,
    held_out: int,
) -> BlockTuning:
    """Tune a block in place.

    Args:
        block: pruned.
        call: how the model calls it; the gradients of its parts of a batch add up.
        inputs: hidden states that enter it in the pruned model, [batch, length, width] each.
        targets: hidden states that leave the dense block, of the same shapes.
        pruned: the block's pruned parameters; their zeros stay.
        steps: of the optimizer, each on one batch, in turn.
        rate: largest step, relative to each parameter's root mean square.
        held_out: so many of the last batches, at least one, are not trained on and decide: the weights stay at the
            best of the states after each pass over the others, and where none beats the first, as they were.

    Raises:
        RuntimeError: where memory runs out. The weights are then as they were, so that it can be repeated with a call
            in smaller parts.
    """
    fitted_count = len(inputs) - held_out
    before = best = _error(block, call, inputs[fitted_count:], targets[fitted_count:])
    training = TrainedWeights(pruned, unpruned(block, pruned))
    first_weights = best_weights = training.copy()
    with torch.enable_grad(), training:
        try:
            for step in range(steps):
                index = step % fitted_count
                parts = list(
                    zip(inputs[index].split(call.sequences), targets[index].split(call.sequences), strict=True)
                )
                for number in training.step(rate_at(rate, (step + 0.5) / steps), passes=len(parts)):
                    part, target = parts[number]
                    distance = _distance(call.run(block, part), target)
                    (training.scale.factor / len(parts) * distance).backward()
                if index == fitted_count - 1 or step == steps - 1:
                    error = _error(block, call, inputs[fitted_count:], targets[fitted_count:])
                    if error < best:
                        best, best_weights = error, training.copy()
        except RuntimeError:
            training.set(first_weights)
            raise
    training.set(best_weights)
    return BlockTuning(before, best)


@torch.no_grad()
def _error(block: nn.Module, call: BlockCall, inputs: list[Tensor], targets: list[Tensor]) -> float:
    errors = [float(_distance(call.run(block, value), target)) for value, target in zip(inputs, targets, strict=True)]
    return sum(errors) / max(len(errors), 1)


def _distance(output: Tensor, target: Tensor) -> Tensor:
    """Mean square error, each token relative to its own size: a few tokens are hundreds of times larger."""
    reference = target.float()
    size = reference.square().mean(dim=-1)
    return ((output.float() - reference).square().mean(dim=-1) / size.clamp_min(1e-12)).mean()
