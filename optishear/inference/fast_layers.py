"""A pruned model in memory → the same model with its pruned layers as its device runs them fastest."""

from transformers.modeling_utils import PreTrainedModel

from optishear.inference.pack_layers import pack_layers
from optishear.inference.semi_structured import semi_structure_layers


def use_sparse_layers(model: PreTrainedModel) -> int:
    """Replace pruned layers, in place: packed ones on a CPU, semi-structured 2:4 ones on a GPU. For inference only.

    >>> summary = optishear.prune(
    ...     model, "wanda", 0.7, tokenizer=tokenizer, sequences=8, sequence_length=64, progress=False
    ... )
    >>> replaced = optishear.use_sparse_layers(model)

    Returns:
        The number of replaced layers; 0 if nothing is pruned or the machine has no kernel for it, which is logged.

    Raises:
        InputError: if the model has no prunable layers.
    """
    if model.device.type == "cpu":
        return pack_layers(model)
    return semi_structure_layers(model)
