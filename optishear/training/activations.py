"""Activations of a backward pass: kept, or computed again block by block where memory is short."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from transformers.modeling_utils import PreTrainedModel

from optishear.models.devices import devices_of
from optishear.models.memory import free_memory
from optishear.models.recomputation import recomputed_activations

# Share of the free memory that activations may take.
_SHARE = 0.5


@contextmanager
def bounded_activations(model: PreTrainedModel, tokens: int) -> Iterator[None]:
    """Let the blocks compute their activations again in the backward pass, if those of so many tokens need much memory.

    The results are the same; a step takes a third more time.
    """
    devices = devices_of(model)
    # The blocks are spread evenly over the devices of a model.
    needed, free = activation_bytes(model, tokens) / len(devices), min(map(free_memory, devices))
    with recomputed_activations(model) if needed > _SHARE * free else nullcontext():
        yield


def activation_bytes(model: PreTrainedModel, tokens: int) -> int:
    """Bytes of the activations that a backward pass over so many tokens keeps, for a block of Llama's kind.

    Eight values of the model's width and four of the MLP's for each token and block.
    """
    config = model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    values = config.num_hidden_layers * (8 * config.hidden_size + 4 * inner)
    return int(tokens * values * model.dtype.itemsize)
