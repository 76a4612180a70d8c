"""Activations that a backward pass computes again, block by block, where there is no memory to keep them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_utils import PreTrainedModel

from optishear.models.layers import decoder_blocks


@contextmanager
def recomputed_activations(model: PreTrainedModel) -> Iterator[None]:
    """Let a backward pass keep the hidden states between the blocks alone; each block runs forward once more.

    Gradients are the same. The checkpointing of transformers itself asks for training mode, in which some families drop
    activations out.
    """
    _, blocks = decoder_blocks(model)
    forwards = [block.forward for block in blocks]
    own = ["forward" in vars(block) for block in blocks]
    try:
        for block, forward in zip(blocks, forwards, strict=True):
            block.forward = partial(_run, forward)
        yield
    finally:
        for block, forward, is_own in zip(blocks, forwards, own, strict=True):
            if is_own:  # a hook of accelerate, say
                block.forward = forward
            else:
                del block.forward


def _run(forward: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*arguments, **keywords)
    return checkpoint(forward, *arguments, use_reentrant=False, preserve_rng_state=False, **keywords)
