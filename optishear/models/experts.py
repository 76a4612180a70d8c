"""Modules that hold the weights of all experts of a block, and the tokens that each expert reads.

transformers 5 fuses experts: [experts, out, in] in most families, [experts, in, out] where the class says that it is
transposed, [experts * width, hidden] in DBRX. Their forward passes have one form, with ``hidden_states``, the indices
of the chosen experts and their weights; Llama 4 alone sends every token to every expert, multiplied by its score.
JetMoE has a module for each of an expert's linear maps, [experts, out, in], which is given the tokens sorted by expert.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from optishear.models.weight_view import LinearView, WeightView


@dataclass(frozen=True)
class Expert:
    """One linear map of an expert.

    Attributes:
        attribute: path of the parameter in the experts' module.
        index: which expert.
        linear: its weight.
        writes: whether it writes the block's output, as the down projection does.
    """

    attribute: str
    index: int
    linear: LinearView
    writes: bool


# Receives the attribute, the index of the expert, and its input [tokens, in].
See = Callable[[str, int, Tensor], None]


def is_experts(module: nn.Module) -> bool:
    """Whether a module holds the fused weights of several experts."""
    return _kind(module) is not None


def experts_of(module: Any) -> list[Expert]:
    """The linear maps of a module's experts, parameter by parameter, expert by expert; none for another module."""
    kind = _kind(module)
    if kind is None:
        return []
    if kind == "parallel":
        return [
            Expert("weight", index, LinearView(module, "weight", WeightView(index)), False)
            for index in range(_count(module))
        ]
    if kind == "stacked":
        width = int(module.mlp.ffn_hidden_size)
        return [
            Expert(f"mlp.{name}", index, LinearView(module.mlp, name, WeightView(index * width, width, writes)), writes)
            for name, writes in (("w1", False), ("v1", False), ("w2", True))
            for index in range(int(module.num_experts))
        ]
    transposed = kind == "sorted" or bool(getattr(module, "is_transposed", False))
    return [
        Expert(name, index, LinearView(module, name, WeightView(index, transposed=transposed)), name == "down_proj")
        for name in (_reading(module), "down_proj")
        for index in range(_count(module))
    ]


def inputs_of_experts(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], see: See) -> None:
    """Compute what each expert's linear maps read in one call of the module.

    The first product of every expert is done once more here, so that the module's own forward pass, whatever it is
    made of, is left as it is.

    Args:
        module: of ``is_experts``.
        arguments: of the call, by position.
        keywords: of the call, by name.
        see: is given the input of each linear map of each expert that got a token.
    """
    if _kind(module) == "parallel":
        _inputs_parallel(arguments, keywords, see)
        return
    hidden = arguments[0] if arguments else keywords["hidden_states"]
    hidden = hidden.detach().reshape(-1, hidden.shape[-1])
    if _kind(module) == "sorted":
        _inputs_sorted(module, hidden, see)
        return
    rest = [*arguments[1:], *(value for name, value in keywords.items() if name != "hidden_states")]
    routing: Tensor = next(value for value in rest if isinstance(value, Tensor) and not value.is_floating_point())
    stacked = _kind(module) == "stacked"
    for index, rows in _tokens_by_expert(routing, _count(module)):
        read = hidden[rows]
        if stacked:
            see("mlp.w1", index, read)
            see("mlp.v1", index, read)
            see("mlp.w2", index, _inner_stacked(module.mlp, index, read))
        else:
            see(_reading(module), index, read)
            see("down_proj", index, _inner(module, index, read))


def _kind(module: nn.Module) -> str | None:
    """``routed``, ``sorted`` (Llama 4), ``stacked`` (DBRX) or ``parallel`` (JetMoE)."""
    down = getattr(module, "down_proj", None)
    if isinstance(down, nn.Parameter) and down.ndim == 3 and _reading(module):
        # LongCat has weights for experts that only copy their input, too; they are never used.
        routed = hasattr(module, "has_gate") or hasattr(module, "_apply_gate") or _is_longcat(module)
        if routed:
            return "routed"
        return "sorted" if type(module).__name__ == "Llama4TextExperts" else None
    weight = getattr(module, "weight", None)
    if isinstance(weight, nn.Parameter) and weight.ndim == 3:
        sizes = ("num_experts", "output_size", "input_size")
        return "parallel" if tuple(weight.shape) == tuple(getattr(module, name, None) for name in sizes) else None
    glu = getattr(module, "mlp", None)
    if glu is not None and all(isinstance(getattr(glu, name, None), nn.Parameter) for name in ("w1", "v1", "w2")):
        return "stacked" if hasattr(module, "num_experts") else None
    return None


def _reading(module: nn.Module) -> str:
    """The parameter that reads the block's input; empty where there is none."""
    for name in ("gate_up_proj", "up_proj"):
        value = getattr(module, name, None)
        if isinstance(value, nn.Parameter) and value.ndim == 3:
            return name
    return ""


def _is_longcat(module: nn.Module) -> bool:
    return type(module).__name__ == "LongcatFlashExperts"


def _count(module: Any) -> int:
    return int(module.num_experts) if _kind(module) in ("stacked", "parallel") else int(module.down_proj.shape[0])


def _tokens_by_expert(routing: Tensor, count: int) -> Iterator[tuple[int, Tensor]]:
    """For each expert that got a token, the rows of its tokens; indices beyond the experts stand for none."""
    routing = routing.reshape(-1, routing.shape[-1])
    for index in range(count):
        rows = (routing == index).any(dim=1).nonzero().squeeze(1)
        if len(rows):
            yield index, rows


def _inner(module: Any, index: int, read: Tensor) -> Tensor:
    """What the down projection of an expert reads."""
    name = _reading(module)
    weight = getattr(module, name)[index].detach()
    output = read @ weight if getattr(module, "is_transposed", False) else nn.functional.linear(read, weight)
    bias = getattr(module, f"{name}_bias", None)
    if bias is not None:
        output = output + bias[index].detach()
    if _is_longcat(module):
        gate, up = output.chunk(2, dim=-1)
        product: Tensor = module.act_fn(gate) * up
        return product
    inner: Tensor = module._apply_gate(output) if name == "gate_up_proj" else module.act_fn(output)
    return inner


def _inner_stacked(glu: Any, index: int, read: Tensor) -> Tensor:
    rows = slice(index * glu.ffn_hidden_size, (index + 1) * glu.ffn_hidden_size)
    inner: Tensor = glu.activation_fn(read @ glu.w1[rows].detach().T) * (read @ glu.v1[rows].detach().T)
    return inner


def _inputs_parallel(arguments: tuple[Any, ...], keywords: dict[str, Any], see: See) -> None:
    """JetMoE: the tokens sorted by expert, and how many each expert gets."""
    read = arguments[0] if arguments else keywords["inputs"]
    sizes = arguments[1] if len(arguments) > 1 else keywords["expert_size"]
    sizes = sizes.tolist() if isinstance(sizes, Tensor) else list(sizes)
    for index, part in enumerate(read.detach().split(sizes)):
        if len(part):
            see("weight", index, part)


def _inputs_sorted(module: Any, hidden: Tensor, see: See) -> None:
    """Llama 4: one block of rows for each expert, zero for the tokens that are not sent to it."""
    for index, block in enumerate(hidden.view(module.gate_up_proj.shape[0], -1, hidden.shape[-1])):
        read = block[block.any(dim=1)]
        if len(read):
            gate, up = (read @ module.gate_up_proj[index].detach()).chunk(2, dim=-1)
            see("gate_up_proj", index, read)
            see("down_proj", index, up * module.act_fn(gate))
