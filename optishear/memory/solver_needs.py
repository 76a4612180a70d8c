"""What the reconstruction of the kept weights needs on its device."""

from functools import partial

from optishear.divergence.model_divergence import TOKENS_PER_BACKWARD
from optishear.memory.model_shape import ModelShape
from optishear.memory.need import Need, need_at_peak
from optishear.memory.needs import weights_bytes
from optishear.memory.passes import (
    activation_bytes,
    backward_bytes,
    forward_bytes,
    gram_bytes,
    head_bytes,
    target_bytes,
)
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.reconstruction.stream import TOKENS_PER_BATCH
from optishear.recovery.recovery_text import HELD_OUT

RECONSTRUCTION_FIX = "lower sequences or set reconstruction_sequences"
RECOVERY_FIX = "lower recovery_sequences or sequence_length"
# Bytes for each weight that the optimizer updates at a time, and how many these are.
_STEP, _WEIGHTS_PER_STEP = 20, 2**24
# Bytes for each weight of a block: its solution in float32 with its mask, of this block and of the one before.
_SOLVED, _SOLVED_BEFORE = 5, 5
# Copies in float32 of the largest layer, and of the largest second moment, while a layer is solved.
_LAYERS = {"none": 1, "sparsegpt": 5, "admm": 8}
_MOMENTS = {"none": 0, "sparsegpt": 3, "admm": 3}


def solver_bytes(shape: ModelShape, method: str) -> dict[str, int]:
    """Bytes beside the hidden states while the layers of a block are solved, by what they hold."""
    largest = 4 * shape.inner**2
    return {
        # The sums, and the moments that are made of them.
        "second moments": 2 * 4 * shape.squared_inputs + _MOMENTS[method] * largest,
        "solved layers": (_SOLVED + _SOLVED_BEFORE) * shape.block + _LAYERS[method] * 4 * shape.layer,
    }


def reconstruct_need(
    shape: ModelShape, itemsize: int, parameters: ReconstructionParameters, *, sequences: int, length: int
) -> Need:
    """What the solver of the layers needs, and what the tuning of a block does.

    Args:
        shape: of the model.
        itemsize: bytes of a weight.
        parameters: of the reconstruction.
        sequences: of the calibration.
        length: tokens of each.
    """
    fitted = min(parameters.reconstruction_sequences or sequences, sequences)
    states = fitted * length * shape.width * itemsize * (2 if parameters.tuning_steps else 1)
    kept = {"weights": weights_bytes(shape, itemsize), "hidden states": states}
    solver = solver_bytes(shape, parameters.reconstruction or "none")
    moments = [{**kept, **solver}]
    if parameters.tuning_steps:
        moments.append(
            {
                **kept,
                **solver_bytes(shape, "none"),
                "optimizer state": 2 * itemsize * shape.block,
                # All gradients of the block until their steps, and the temporary tensors of one.
                "gradients": itemsize * shape.block + _STEP * min(shape.layer, _WEIGHTS_PER_STEP),
                "activations": activation_bytes(shape, itemsize, TOKENS_PER_BATCH),
            }
        )
    return need_at_peak("reconstruct", *moments)


def recover_need(
    shape: ModelShape,
    itemsize: int,
    *,
    length: int,
    tokens_per_step: int | None,
    recomputed: bool,
    devices: int = 1,
    ways: tuple[str, ...] = (),
) -> Need:
    """What a recovery needs: both models, the optimizer's state of the pruned one, and a backward pass.

    Args:
        shape: of the model.
        itemsize: bytes of a weight.
        length: tokens of a block that is held out.
        tokens_per_step: tokens of a step; ``None`` where they follow from the device's speed.
        recomputed: whether activations are computed again in the backward pass.
        devices: that share a step; the need is that of the one with the optimizer.
        ways: as in ``Need``.
    """
    most = max(TOKENS_PER_BACKWARD, length)
    in_one_pass = tokens_per_step is not None and tokens_per_step <= most
    tokens = tokens_per_step if tokens_per_step is not None and in_one_pass else most
    held_out = HELD_OUT * length
    kept = {
        "weights": weights_bytes(shape, itemsize),
        "dense model": weights_bytes(shape, itemsize),
        # The momentum, and the residual of weights in half precision.
        "optimizer state": shape.prunable * 4,
        "dense targets": target_bytes(shape, itemsize, held_out, held_out),
    }
    head = head_bytes(shape, itemsize, tokens)
    return need_at_peak(
        "recover",
        {**kept, "activations": gram_bytes(shape) + forward_bytes(shape, itemsize, tokens)},
        {
            **kept,
            # Those of several passes or devices are summed; of one pass each is used up as it comes.
            "gradients": itemsize * (shape.layer if in_one_pass and devices == 1 else shape.prunable)
            + _STEP * min(shape.layer, _WEIGHTS_PER_STEP),
            "activations": backward_bytes(shape, itemsize, tokens, recomputed=recomputed) + head,
        },
        host={"best weights": shape.prunable * itemsize},
        ways=ways,
    )


def recovery_state_bytes(shape: ModelShape, itemsize: int) -> int:
    """Bytes of the file of a recovery's state: the weights, the best ones, and the optimizer's state."""
    return shape.prunable * (2 * itemsize + 4)


def plan_recovery(
    shape: ModelShape,
    itemsize: int,
    free: int | None,
    *,
    length: int,
    tokens_per_step: int | None,
    devices: int = 1,
) -> Need:
    """The need of a recovery that keeps its activations if they fit, or computes them again.

    Args:
        shape: of the model.
        itemsize: bytes of a weight.
        free: bytes that it may take; ``None`` where that is unknown.
        length: tokens of a block that is held out.
        tokens_per_step: tokens of a step; ``None`` where they follow from the device's speed.
        devices: that share a step.
    """
    need = partial(recover_need, shape, itemsize, length=length, tokens_per_step=tokens_per_step, devices=devices)
    whole = need(recomputed=False)
    if free is None or whole.total <= free:
        return whole
    return need(recomputed=True, ways=("activations that are computed again in the backward pass",))
