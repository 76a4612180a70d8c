"""Reorder channels inside a model's blocks, where their order is free, so that an N:M pattern prunes less.

The order of an MLP's intermediate channels (rows of gate and up, columns of down) and that of the channels inside a
value head (rows of value, columns of output) does not change what a model computes.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.masks.channel_order import best_order
from optishear.models.layers import PrunableLayer, decoder_blocks
from optishear.models.select_layers import select_layers
from optishear.pattern import Pattern
from optishear.recipes.recipe import Recipe
from optishear.statistics.statistics import Statistics

# Families whose MLP is down(act(gate(x)) * up(x)), and whose output projection reads the value heads alone.
FAMILIES = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3", "smollm3")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Free:
    """Channels in a free order.

    Attributes:
        writers: the layers that write them, by rows.
        reader: the layer that reads them.
        heads: number of heads that the writers write; channels move inside a head only.
        copies: number of the reader's heads that read one head of the writers, next to each other.
    """

    writers: list[nn.Linear]
    reader: PrunableLayer
    heads: int = 1
    copies: int = 1


def check_permutation(pattern: Pattern, permute_channels: bool) -> None:
    """Refuse a permutation for a pattern that no order of channels changes.

    Raises:
        InputError: naming the parameter.
    """
    if permute_channels and not pattern.is_structured:
        raise InputError(
            f"permute_channels is on, but the order of channels changes nothing at sparsity {pattern}; give an N:M "
            "pattern such as 2:4, or leave it out."
        )


@torch.no_grad()
def permute_channels(model: PreTrainedModel, recipe: Recipe, statistics: Statistics) -> Statistics:
    """Reorder a dense model's channels in place for a recipe that asks for it; the model computes the same.

    What is lost by pruning a weight is its squared Wanda score. The order depends on weights, statistics and pattern
    alone, and its sums do not depend on the number of threads, so that a later call finds the same.

    Args:
        model: dense.
        recipe: its pattern, and whether to permute.
        statistics: of the model in its present order.

    Returns:
        The statistics in the new order.
    """
    pattern = recipe.sparsity
    if not recipe.permute_channels or pattern.kept is None or pattern.group is None:
        return statistics
    if model.config.model_type not in FAMILIES:
        logger.warning("channels are not permuted: the family %r is not one of %s", model.config.model_type, FAMILIES)
        return statistics
    norms, gradients = dict(statistics.squared_norms), dict(statistics.gradients)
    layers = select_layers(model, recipe.selection)
    name_of = {id(layer.module): layer.name for layer in layers}
    moved = 0
    free = list(_free_channels(model, layers, pattern.group))
    for channels in free:
        rows, columns = _orders(channels, statistics, pattern.kept, pattern.group)
        moved += int((columns != torch.arange(len(columns))).any())
        for writer in channels.writers:
            writer.weight.copy_(writer.weight[rows.to(writer.weight.device)])
            if writer.bias is not None:
                writer.bias.copy_(writer.bias[rows.to(writer.bias.device)])
            name = name_of.get(id(writer), "")
            if name in gradients:
                gradients[name] = gradients[name][rows]
        weight, name = channels.reader.module.weight, channels.reader.name
        weight.copy_(weight[:, columns.to(weight.device)])
        norms[name] = norms[name][columns]
        if name in gradients:
            gradients[name] = gradients[name][:, columns]
    logger.info("channels permuted before %d of %d layers that read channels in a free order", moved, len(free))
    return replace(statistics, squared_norms=norms, gradients=gradients)


def _free_channels(model: PreTrainedModel, layers: list[PrunableLayer], group: int) -> Iterator[_Free]:
    """The channels of the blocks in a free order, that a pruned layer reads."""
    readers = {id(layer.module): layer for layer in layers if not layer.shared_by}
    for block in decoder_blocks(model)[1]:
        mlp, attention = getattr(block, "mlp", None), getattr(block, "self_attn", None)
        of_mlp = _linears(mlp, "gate_proj", "up_proj", "down_proj")
        if of_mlp and id(of_mlp[-1]) in readers:
            yield _Free(of_mlp[:-1], readers[id(of_mlp[-1])])
        of_attention = _linears(attention, "v_proj", "o_proj")
        width = getattr(attention, "head_dim", None)
        if of_attention and isinstance(width, int) and width % group == 0 and id(of_attention[1]) in readers:
            value, output = of_attention
            heads, copies = value.out_features // width, output.in_features // value.out_features
            if heads * width == value.out_features and copies * value.out_features == output.in_features:
                yield _Free([value], readers[id(output)], heads, copies)


def _linears(module: nn.Module | None, *names: str) -> list[nn.Linear]:
    """The linear layers of these names; none if one of them is missing."""
    found = [getattr(module, name, None) for name in names]
    return [layer for layer in found if isinstance(layer, nn.Linear)] if all(map(_is_linear, found)) else []


def _is_linear(module: object) -> bool:
    return type(module) is nn.Linear


def _orders(channels: _Free, statistics: Statistics, kept: int, group: int) -> tuple[Tensor, Tensor]:
    """The order of the writers' rows and that of the reader's columns."""
    module = channels.reader.module
    squared_norms = statistics.of(channels.reader.name, module.in_features).to(module.weight.device)
    importance = module.weight.float().square() * squared_norms
    width = module.in_features // (channels.heads * channels.copies)
    # [out, heads, copies, width]: a head's channels have the same order in every copy.
    by_head = importance.reshape(len(importance), channels.heads, channels.copies, width)
    rows, columns = [], []
    for head in range(channels.heads):
        order = best_order(by_head[:, head].reshape(-1, width), kept, group)
        rows.append(head * width + order)
        columns += [(head * channels.copies + copy) * width + order for copy in range(channels.copies)]
    return torch.cat(rows), torch.cat(columns)
