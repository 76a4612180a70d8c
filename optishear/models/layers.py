"""Prunable layers, found by structure: the linear layers inside the decoder blocks."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from optishear.errors import InputError

Kind = Literal["attention_in", "attention_out", "mlp_in", "mlp_out"]
KINDS: tuple[Kind, ...] = ("attention_in", "attention_out", "mlp_in", "mlp_out")


@dataclass(frozen=True)
class PrunableLayer:
    """One linear layer whose weight may be pruned.

    Attributes:
        name: the module's path in the model, as in ``model.named_modules()``.
        module: the layer; ``module.weight`` is [out, in].
        decoder_layer: index of the decoder block that holds it, from 0.
        kind: whether it reads or writes the residual stream, and from which half of the block.
    """

    name: str
    module: nn.Linear
    decoder_layer: int
    kind: Kind


def decoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The path and the list of the decoder blocks: the outermost module list that holds most linear weights.

    Raises:
        InputError: if no module list of the model holds a linear layer.
    """
    best: tuple[int, str, nn.ModuleList] | None = None
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            size = sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))
            if size and (best is None or size > best[0]):
                best = (size, name, module)
    if best is None:
        raise InputError(
            f"The model {type(model).__name__} has no prunable layers: no list of decoder blocks in it holds "
            "a torch.nn.Linear; give a decoder-only transformer."
        )
    return best[1], best[2]


def prunable_layers(model: nn.Module) -> list[PrunableLayer]:
    """All linear layers inside the decoder blocks, block by block, in the order of their definition.

    The embeddings, the output head and everything outside the blocks are left alone: pruning a head that is
    tied to the embeddings would prune these as well.

    Raises:
        InputError: if the model has no prunable layers.
    """
    path, blocks = decoder_blocks(model)
    layers: list[PrunableLayer] = []
    for index, block in enumerate(blocks):
        attention: list[tuple[str, nn.Linear]] = []
        mlp: list[tuple[str, nn.Linear]] = []
        in_attention = {
            id(inner)
            for module in block.modules()
            if "attention" in type(module).__name__.lower()
            for inner in module.modules()
        }
        for name, module in block.named_modules():
            if isinstance(module, nn.Linear):
                half = attention if id(module) in in_attention else mlp
                half.append((f"{path}.{index}.{name}", module))
        layers += _of_one_half(attention, index, "attention_in", "attention_out")
        layers += _of_one_half(mlp, index, "mlp_in", "mlp_out")
    return layers


def block_path(layer: PrunableLayer) -> str:
    """A layer's path inside its decoder block, such as ``self_attn.q_proj``."""
    return layer.name.split(f".{layer.decoder_layer}.", 1)[1]


def _of_one_half(
    half: list[tuple[str, nn.Linear]], decoder_layer: int, reads: Kind, writes: Kind
) -> list[PrunableLayer]:
    """Tell the layer that writes the residual stream from those that read it.

    Every family defines the writing layer last; where one does not (Mixtral's ``w2``), it is still the one
    that narrows the MLP's inner width.
    """
    if not half:
        return []
    narrowing = {id(m) for _, m in half if writes == "mlp_out" and m.out_features < m.in_features}
    writing = narrowing or {id(half[-1][1])}
    return [
        PrunableLayer(name, module, decoder_layer, writes if id(module) in writing else reads) for name, module in half
    ]
