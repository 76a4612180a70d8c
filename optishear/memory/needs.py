"""What each stage needs on its device, from the model's shape and the stage's parameters.

Bytes for each weight of the largest layer (``_MASKS`` and the like) are those of the temporary tensors of the code that
the stage runs; tests/memory compares the sums with what the code allocates.
"""

from optishear.calibration.self_generated import TEXTS_PER_BATCH
from optishear.evaluation.perplexity import LOGITS_PER_SOFTMAX, windows_per_pass
from optishear.memory.model_shape import ModelShape
from optishear.memory.need import Need, need_at_peak
from optishear.memory.passes import backward_bytes, forward_bytes

# Sequences of a pass over calibration text, if memory allows it.
SEQUENCES_PER_PASS = 4
LENGTH_FIX = "lower sequence_length"
# Tokens of the passes of a diagnosis, and the methods that run beside the dense model.
_DIAGNOSED_TOKENS, _DIAGNOSED_METHODS = 1024, 3
# Bytes for each weight of the largest layer: scores, threshold and mask; sums of a layer's gradients.
MASKS, _GRADIENTS = 13, 14


def weights_bytes(shape: ModelShape, itemsize: int) -> int:
    """The model's weights."""
    return shape.parameters * itemsize


def calibrate_need(shape: ModelShape, itemsize: int, *, sequences: int, length: int) -> Need:
    """Of text that the model writes: the keys and values of all texts of a batch, and their next-token distributions.

    Args:
        shape: of the model.
        itemsize: bytes of a weight.
        sequences: texts.
        length: tokens of each.
    """
    texts = min(sequences, TEXTS_PER_BATCH)
    cache = texts * length * shape.blocks * shape.keys * itemsize
    logits = texts * shape.vocabulary * (2 * itemsize + 16)
    return need_at_peak(
        "calibrate",
        {
            "weights": weights_bytes(shape, itemsize),
            "cache": cache,
            "activations": logits + forward_bytes(shape, itemsize, texts),
        },
    )


def statistics_need(
    shape: ModelShape,
    itemsize: int,
    *,
    length: int,
    sequences_per_pass: int = SEQUENCES_PER_PASS,
    kept_tokens: int = 0,
) -> Need:
    """Of a forward pass, and the squares of one layer's input in float32.

    Args:
        shape: of the model.
        itemsize: bytes of a weight.
        length: tokens of a sequence.
        sequences_per_pass: sequences of a pass.
        kept_tokens: whose hidden states are in memory, where all of them go through one block before the next.
    """
    tokens = sequences_per_pass * length
    squares = 8 * tokens * shape.inner
    return need_at_peak(
        "statistics",
        {
            "weights": weights_bytes(shape, itemsize),
            "hidden states": kept_tokens * shape.width * itemsize,
            "activations": forward_bytes(shape, itemsize, tokens) + squares,
        },
    )


def gradients_need(shape: ModelShape, itemsize: int, *, length: int) -> Need:
    """Of a backward pass over one sequence, with the sum of one layer at a time; the norms go to the host's memory."""
    logits = length * shape.vocabulary * (2 * itemsize + 12)
    activations = backward_bytes(shape, itemsize, length) + max(logits, _GRADIENTS * shape.layer)
    return need_at_peak(
        "gradients",
        {"weights": weights_bytes(shape, itemsize), "activations": activations},
        host={"gradients": 2 * shape.prunable},
    )


def prune_need(shape: ModelShape, itemsize: int) -> Need:
    """Of the mask of one layer."""
    return need_at_peak("prune", {"weights": weights_bytes(shape, itemsize), "masks": MASKS * shape.layer})


def evaluate_need(
    shape: ModelShape, itemsize: int, *, window_length: int, batch_size: int, pruned: bool = False
) -> Need:
    """Of the perplexity's windows; tasks, whose sequences are shorter, begin with a batch as large.

    Args:
        shape: of the model.
        itemsize: bytes of a weight.
        window_length: tokens of a window.
        batch_size: windows of a pass at most.
        pruned: whether the dense model is pruned in memory first.
    """
    windows = windows_per_pass(batch_size, window_length, shape.vocabulary)
    tokens = windows * window_length
    logits = tokens * shape.vocabulary * itemsize
    weights = {"weights": weights_bytes(shape, itemsize)}
    return need_at_peak(
        "evaluate",
        {**weights, "activations": forward_bytes(shape, itemsize, tokens)},
        {**weights, "activations": logits + 12 * LOGITS_PER_SOFTMAX},
        {**weights, "masks": MASKS * shape.layer * pruned},
    )


def diagnose_need(
    shape: ModelShape, itemsize: int, *, length: int, sequences_per_pass: int = SEQUENCES_PER_PASS
) -> Need:
    """Of a pass in which the dense model and the pruned ones run side by side, with one layer of each method."""
    sequences = min(sequences_per_pass, max(1, _DIAGNOSED_TOKENS // length))
    tokens = (1 + _DIAGNOSED_METHODS) * sequences * length
    return need_at_peak(
        "diagnose",
        {
            "weights": weights_bytes(shape, itemsize),
            "masks": (MASKS + 2 * itemsize) * shape.layer,
            "activations": forward_bytes(shape, itemsize, tokens),
        },
    )
