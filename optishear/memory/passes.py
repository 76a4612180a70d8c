"""Bytes of forward and backward passes. Attention is counted as by kernels that do not store its matrix."""

from optishear.divergence.model_divergence import LIKELIEST_TOKENS, TOKENS_PER_CHUNK
from optishear.memory.model_shape import ModelShape


def forward_bytes(shape: ModelShape, itemsize: int, tokens: int) -> int:
    """Activations of a pass that keeps none: those of one MLP, and the hidden states around it."""
    return tokens * itemsize * (3 * shape.inner + 4 * shape.width)


def activation_bytes(shape: ModelShape, itemsize: int, tokens: int) -> int:
    """Activations that one decoder block keeps for its backward pass.

    The outputs of its layers, their inputs, and in float32 those of both norms; a twelfth more for what families add.
    """
    values = shape.written + shape.inner + 3 * shape.width
    return tokens * (itemsize * values + 8 * shape.width) * 13 // 12


def backward_bytes(shape: ModelShape, itemsize: int, tokens: int, *, recomputed: bool = False) -> int:
    """Activations of all blocks in a backward pass; of one block and all hidden states, if they are recomputed."""
    of_block = activation_bytes(shape, itemsize, tokens)
    if recomputed:
        return of_block + shape.blocks * tokens * shape.width * itemsize
    return shape.blocks * of_block


def head_bytes(shape: ModelShape, itemsize: int, tokens: int) -> int:
    """Logits of so many tokens in a backward pass: in the model's precision, their gradient, and both in float32."""
    return min(tokens, TOKENS_PER_CHUNK) * shape.vocabulary * (2 * itemsize + 8)


def gram_bytes(shape: ModelShape) -> int:
    """The float32 copies of the head that its Gram matrix [width, width] is computed from, and the matrix."""
    return 4 * (2 * shape.vocabulary * shape.width + shape.width**2)


def target_bytes(shape: ModelShape, itemsize: int, tokens: int, measured: int) -> int:
    """The dense outputs of ``ModelDivergence``: likeliest tokens of all, hidden states of the measured ones."""
    return tokens * LIKELIEST_TOKENS * 8 + measured * shape.width * itemsize + 4 * shape.width**2
