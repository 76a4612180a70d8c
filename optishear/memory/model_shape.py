"""The sizes of a model that decide how much memory a stage needs, from its structure alone."""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import torch
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.models.layers import PrunableLayer, all_prunable_layers, decoder_blocks, expert_group
from optishear.models.memory import weight_count
from optishear.models.shards import Placement, weights_by_device

# Experts that see a token, where the configuration does not say.
_EXPERTS_PER_TOKEN = 2


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model, in numbers.

    Attributes:
        parameters: of the whole model; tied ones count once.
        prunable: weights of the prunable layers.
        block: prunable weights of the largest decoder block.
        layer: weights of the largest prunable layer.
        blocks: number of decoder blocks.
        width: of the hidden states.
        inner: the widest input or output of a prunable layer.
        written: outputs of all layers of the largest block, as a token passes them.
        keys: values that a token leaves in the cache of keys and values of one block.
        vocabulary: rows of the output head.
        squared_inputs: sum over the distinct inputs of a block of the square of their width.
    """

    parameters: int
    prunable: int
    block: int
    layer: int
    blocks: int
    width: int
    inner: int
    written: int
    keys: int
    vocabulary: int
    squared_inputs: int


def shape_of(model: PreTrainedModel) -> ModelShape:
    """The shape of a model, which may be on the meta device (``load_without_weights``).

    Raises:
        InputError: if the model has no prunable layers.
    """
    layers = all_prunable_layers(model)
    blocks: dict[int, list[PrunableLayer]] = defaultdict(list)
    for layer in layers:
        blocks[layer.decoder_layer].append(layer)
    weights = Counter({index: _weights(members) for index, members in blocks.items()})
    largest = blocks[weights.most_common(1)[0][0]]
    config = model.config.get_text_config()
    width = int(config.hidden_size)
    heads = getattr(config, "num_attention_heads", None) or 1
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    head_width = getattr(config, "head_dim", None) or width // heads
    return ModelShape(
        parameters=weight_count(model),
        prunable=sum(weights.values()),
        block=_weights(largest),
        layer=max(layer.module.weight.numel() for layer in layers),
        blocks=len(decoder_blocks(model)[1]),
        width=width,
        inner=max(max(layer.module.in_features, layer.module.out_features) for layer in layers),
        written=_written(largest, getattr(config, "num_experts_per_tok", None) or _EXPERTS_PER_TOKEN),
        keys=2 * key_heads * head_width,
        vocabulary=int(config.vocab_size),
        squared_inputs=_squared_inputs(largest),
    )


def known_shape(model: PreTrainedModel) -> ModelShape | None:
    """As ``shape_of``; ``None`` for a model without prunable layers, which can still be evaluated."""
    try:
        return shape_of(model)
    except InputError:
        return None


def shape_of_shard(model: PreTrainedModel, placement: Placement) -> ModelShape:
    """The shape of a model's part on one device, with the most of each size that any device has.

    A stage's need of that shape is enough on each of the devices. For a model on one device it is that of ``shape_of``.

    Args:
        model: as for ``shape_of``.
        placement: the device of each parameter.

    Raises:
        InputError: if the model has no prunable layers.
    """
    prunable: Counter[torch.device] = Counter()
    blocks: dict[torch.device, set[int]] = defaultdict(set)
    for layer in all_prunable_layers(model):
        device = placement[layer.parameter_name]
        prunable[device] += layer.module.weight.numel()
        blocks[device].add(layer.decoder_layer)
    if len(set(placement.values())) == 1:
        return shape_of(model)
    return replace(
        shape_of(model),
        parameters=max(weights_by_device(model, placement).values()),
        prunable=max(prunable.values()),
        blocks=max(map(len, blocks.values())),
    )


def shape_of_resident(model: PreTrainedModel) -> ModelShape:
    """The shape of what is in memory of a model on disk: what is outside of the blocks, and one block.

    The block counts twice, for what is written of it in the dtype of the checkpoint.

    Raises:
        InputError: if the model has no prunable layers.
    """
    shape = shape_of(model)
    sizes = [sum(parameter.numel() for parameter in block.parameters()) for block in decoder_blocks(model)[1]]
    return replace(shape, parameters=shape.parameters - sum(sizes) + 2 * max(sizes), prunable=shape.block, blocks=1)


def _weights(layers: list[PrunableLayer]) -> int:
    return sum(layer.module.weight.numel() for layer in layers)


def _written(layers: list[PrunableLayer], experts_per_token: int) -> int:
    """Outputs of a block's layers for one token, which passes a few of the experts."""
    groups = Counter(expert_group(layer) for layer in layers)
    total = 0.0
    for layer in layers:
        group = expert_group(layer)
        share = 1.0 if group is None else min(1.0, experts_per_token / groups[group])
        total += share * layer.module.out_features
    return round(total)


def _squared_inputs(layers: list[PrunableLayer]) -> int:
    """Weights of the second moments of a block: one for the layers that read, one for each layer that writes."""
    moments = 0
    reading: set[tuple[str, str, int | None]] = set()
    for layer in layers:
        read = (layer.name.rpartition(".")[0], layer.kind, layer.expert)
        if layer.kind in ("attention_in", "mlp_in"):
            if read in reading:
                continue
            reading.add(read)
        moments += layer.module.in_features**2
    return moments
