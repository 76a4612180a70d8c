"""Activations of a backward pass: kept, or computed again block by block where memory is short."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers.modeling_utils import PreTrainedModel

from optishear.models.memory import free_memory

# Share of the free memory that activations may take.
_SHARE = 0.5


@contextmanager
def recomputed_activations(model: PreTrainedModel, blocks: nn.ModuleList, tokens: int) -> Iterator[None]:
    """Let the blocks compute their activations again in the backward pass, if those of so many tokens need much memory.

    The results are the same; a step takes a third more time. Blocks are not put into training mode beyond that, so
    that no dropout begins. A family that transformers cannot do this for keeps its activations.
    """
    needed = activation_bytes(model, tokens)
    if needed <= _SHARE * free_memory(model.device) or not model.supports_gradient_checkpointing:
        yield
        return
    model.activation_checkpointing_enable({"use_reentrant": False})
    for block in blocks:
        block.training = True
    try:
        yield
    finally:
        for block in blocks:
            block.training = False
        model.activation_checkpointing_disable()


def activation_bytes(model: PreTrainedModel, tokens: int) -> int:
    """Bytes of the activations that a backward pass over so many tokens keeps, for a block of Llama's kind.

    Eight values of the model's width and four of the MLP's for each token and block.
    """
    config = model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    values = config.num_hidden_layers * (8 * config.hidden_size + 4 * inner)
    return int(tokens * values * model.dtype.itemsize)
