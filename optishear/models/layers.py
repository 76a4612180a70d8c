"""Prunable layers, found by structure: the linear maps inside the decoder blocks."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from optishear.errors import InputError
from optishear.models.experts import experts_of, is_experts
from optishear.models.selection import selection_of
from optishear.models.unused import never_called
from optishear.models.weight_view import LinearView, WeightView

Kind = Literal["attention_in", "attention_out", "mlp_in", "mlp_out"]
KINDS: tuple[Kind, ...] = ("attention_in", "attention_out", "mlp_in", "mlp_out")
Linear = nn.Linear | LinearView
# A module with such a part in its path decides which expert or which input counts. It is small, and a zero in it
# changes what every later layer sees, so that it is never pruned.
ROUTERS = ("gate", "router", "shared_expert_gate", "altup*")
_IN_LIST = re.compile(r"((?:^|\.)\w*experts?\.)\d+(\.)")


@dataclass(frozen=True)
class PrunableLayer:
    """One linear map whose weight may be pruned: a linear layer, or one of the maps of an expert.

    Attributes:
        name: the module's path in the model, as in ``model.named_modules()``; of an expert, the path of the parameter
            and the expert's number, such as ``model.layers.0.mlp.experts.down_proj.3``.
        module: the layer, or a view of a parameter that looks like one; ``module.weight`` is [out, in].
        decoder_layer: index of the decoder block that holds it, from 0.
        kind: whether it reads or writes the residual stream, and from which half of the block.
        experts: the module of the fused experts, where it is of one.
        attribute: path of the parameter in that module.
        expert: number of the expert in that module.
        shared_by: further modules that use the same weight, in this block or in others.
    """

    name: str
    module: Linear
    decoder_layer: int
    kind: Kind
    experts: nn.Module | None = None
    attribute: str = "weight"
    expert: int | None = None
    shared_by: tuple[nn.Module, ...] = ()

    @property
    def called(self) -> nn.Module:
        """The module that the model calls: the experts' where it is of one."""
        if self.experts is not None:
            return self.experts
        return self.module.owner if isinstance(self.module, LinearView) else self.module

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that holds the weight; several experts share one."""
        if isinstance(self.module, LinearView):
            return self.module.parameter
        weight: nn.Parameter = self.module.weight  # type: ignore[assignment]
        return weight

    @property
    def parameter_name(self) -> str:
        """The parameter's path in the model, as in ``model.named_parameters()``."""
        return f"{self.name}.weight" if self.expert is None else self.name.rpartition(".")[0]

    def view(self, values: Tensor) -> Tensor:
        """The part [out, in] of values of the parameter's shape that is this layer's; it shares memory."""
        return self.module.view.of(values) if isinstance(self.module, LinearView) else values


def by_parameter(layers: Iterable[PrunableLayer]) -> dict[nn.Parameter, list[tuple[int, PrunableLayer]]]:
    """The layers of each parameter, with their places in the list."""
    grouped: dict[nn.Parameter, list[tuple[int, PrunableLayer]]] = {}
    for index, layer in enumerate(layers):
        grouped.setdefault(layer.parameter, []).append((index, layer))
    return grouped


def decoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The path and the list of the decoder blocks: the outermost module list that holds most prunable weights.

    Raises:
        InputError: if no module list of the model holds a linear map.
    """
    best: tuple[int, str, nn.ModuleList] | None = None
    # A vision tower may be larger than the language model, and text does not go through it.
    left_out = never_called(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            size = sum(_prunable_weights(inner) for inner in module.modules() if inner not in left_out)
            if size and (best is None or size > best[0]):
                best = (size, name, module)
    if best is None:
        raise InputError(
            f"The model {type(model).__name__} has no prunable layers: no list of decoder blocks in it holds "
            "a linear layer, one of GPT-2's transposed kind, or experts; give a model of another family."
        )
    return best[1], best[2]


def prunable_layers(model: nn.Module) -> list[PrunableLayer]:
    """The layers of ``all_prunable_layers`` that are pruned, by the model's selection (``select_layers``).

    Raises:
        InputError: if the model has no prunable layers.
    """
    selection = selection_of(model)
    return [layer for layer in all_prunable_layers(model) if selection.takes(names_of(layer))]


def all_prunable_layers(model: nn.Module) -> list[PrunableLayer]:
    """All linear maps inside the decoder blocks, block by block, in the order of their definition.

    These are the linear layers, of GPT-2's transposed kind too, and the maps of each expert, but not the routers and
    gates that choose experts, nor layers that the model never calls. Of a layer that blocks share, the first is
    taken.

    The embeddings, the output head and everything outside the blocks are left alone: pruning a head that is
    tied to the embeddings would prune these as well.

    Raises:
        InputError: if the model has no prunable layers.
    """
    path, blocks = decoder_blocks(model)
    layers: list[PrunableLayer] = []
    # An expert in a list of modules is not called where no token is sent to it, and is used all the same.
    left_out = {module for module in never_called(model) if not is_experts(module)}
    for index, block in enumerate(blocks):
        attention: list[tuple[str, Linear]] = []
        mlp: list[tuple[str, Linear]] = []
        experts: list[PrunableLayer] = []
        in_attention = {
            id(inner)
            for module in block.modules()
            if "attention" in type(module).__name__.lower() or type(module).__name__.endswith("MLA")
            for inner in module.modules()
        }
        for name, module in block.named_modules():
            if is_router(name) or (module in left_out and "expert" not in name):
                continue
            if (linear := _linear(module)) is not None:
                half = attention if id(module) in in_attention else mlp
                half.append((f"{path}.{index}.{name}", linear))
            elif is_experts(module):
                in_half: Literal["attention", "mlp"] = "attention" if id(module) in in_attention else "mlp"
                experts += _experts(f"{path}.{index}.{name}", module, index, in_half)
        written = any(layer.kind == "attention_out" for layer in experts)
        layers += _of_one_half(attention, index, "attention_in", "attention_in" if written else "attention_out")
        layers += _of_one_half(mlp, index, "mlp_in", "mlp_out")
        layers += experts
    return _first_of_shared(layers)


def _first_of_shared(layers: list[PrunableLayer]) -> list[PrunableLayer]:
    """Each layer once, where blocks share weights as Zamba2's do."""
    shared: dict[tuple[nn.Parameter, int | None], list[PrunableLayer]] = {}
    for layer in layers:
        shared.setdefault((layer.parameter, layer.expert), []).append(layer)
    return [
        replace(first, shared_by=tuple(other.called for other in others)) if others else first
        for first, *others in shared.values()
    ]


def is_router(path: str) -> bool:
    """Whether a module inside a block chooses between experts or inputs, by the parts of its path; see ``ROUTERS``."""
    return any(fnmatchcase(part, pattern) for part in path.split(".") for pattern in ROUTERS)


def block_path(layer: PrunableLayer) -> str:
    """A layer's path inside its decoder block, such as ``self_attn.q_proj``; the experts of one parameter share it."""
    path = expert_path(layer)
    return path if layer.expert is None else path.rpartition(".")[0]


def expert_path(layer: PrunableLayer) -> str:
    """As ``block_path``, but with the number of the expert, such as ``mlp.experts.down_proj.3``."""
    return layer.name.split(f".{layer.decoder_layer}.", 1)[1]


def expert_group(layer: PrunableLayer) -> str | None:
    """What the same linear map of all experts of a block has in common; ``None`` for a layer that is no expert's.

    Experts are slices of one parameter, or modules in a list, such as ``mlp.experts.3.w1``.
    """
    path = block_path(layer)
    if layer.expert is None:
        path, count = _IN_LIST.subn(r"\1*\2", path)
        if not count:
            return None
    return f"{layer.decoder_layer}.{path}"


def names_of(layer: PrunableLayer) -> tuple[str, ...]:
    """What patterns are compared with: name in the model and path in the block, also without an expert's number."""
    names = [layer.name, expert_path(layer)]
    if layer.expert is not None:
        names += [name.rpartition(".")[0] for name in names]
    return tuple(names)


def _linear(module: nn.Module) -> Linear | None:
    """The linear map that a module is."""
    if isinstance(module, nn.Linear):
        return module
    return LinearView(module, "weight", WeightView(transposed=True)) if isinstance(module, Conv1D) else None


def _prunable_weights(module: nn.Module) -> int:
    linear = _linear(module)
    linears = [linear] if linear is not None else [expert.linear for expert in experts_of(module)]
    return sum(linear.weight.numel() for linear in linears)


def _experts(
    path: str, module: nn.Module, decoder_layer: int, half: Literal["attention", "mlp"]
) -> list[PrunableLayer]:
    reads: Kind = "attention_in" if half == "attention" else "mlp_in"
    writes: Kind = "attention_out" if half == "attention" else "mlp_out"
    # A module of one linear map does not know which one it is.
    is_output = path.endswith(".output_linear")
    return [
        PrunableLayer(
            f"{path}.{expert.attribute}.{expert.index}",
            expert.linear,
            decoder_layer,
            writes if expert.writes or is_output else reads,
            experts=module,
            attribute=expert.attribute,
            expert=expert.index,
        )
        for expert in experts_of(module)
    ]


def _of_one_half(half: list[tuple[str, Linear]], decoder_layer: int, reads: Kind, writes: Kind) -> list[PrunableLayer]:
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
