"""Tune the kept weights of all blocks at once by the KL divergence from the dense model, masks fixed.

A few steps of a standard optimizer on the calibration tokens, with the dense model's own next-token distributions
as the target, so that errors of one block are made up for wherever that is cheapest. The text is never a target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from optishear.divergence.model_divergence import ModelDivergence
from optishear.reconstruction.master_weights import MasterWeights
from optishear.reconstruction.schedule import rate_at


@dataclass(frozen=True)
class Distillation:
    """What distillation did.

    Attributes:
        before: mean KL divergence per token on the held-out sequences, in nats.
        after: the same at the end; equal where it did not help and was undone.
        steps: steps that were made.
    """

    before: float
    after: float
    steps: int


def distil(
    error: ModelDivergence,
    masks: Mapping[Tensor, Tensor],
    others: Sequence[Tensor],
    *,
    steps: int,
    sequences_per_step: int,
    rate: float,
    held_out: int,
    checks: int = 2,
    progress: bool = False,
) -> Distillation:
    """Distil the dense model into the pruned one, in place.

    Args:
        error: dense targets, taken when the model was dense.
        masks: for each pruned weight the bool mask of what is kept.
        others: parameters that are tuned without a mask, such as norms.
        steps: of the optimizer.
        sequences_per_step: sequences of one step, in turn.
        rate: largest step, relative to each parameter's root mean square.
        held_out: so many of the first sequences, at least one, are not trained on and decide, ``checks`` times on
            the way, which state stays.
        progress: show a progress bar.
    """
    total = len(error.tokens) - held_out
    per_step = min(sequences_per_step, total)
    before = best = error.measure(held_out)["kl"]
    parameters = [*masks, *others]
    with torch.enable_grad():
        training = MasterWeights(parameters, [masks.get(parameter) for parameter in parameters])
        best_state = training.state()
        checked = {round(steps * (number + 1) / checks) - 1 for number in range(checks)}
        for step in tqdm(range(steps), desc="distillation", unit="step", disable=not progress):
            start = step * per_step % total
            start = min(start, total - per_step)
            error.backward(held_out + start, per_step)
            training.step(rate_at(rate, (step + 0.5) / steps))
            if step in checked:
                now = error.measure(held_out)["kl"]
                if now < best:
                    best, best_state = now, training.state()
        training.finish(best_state)
    return Distillation(before, best, steps)
